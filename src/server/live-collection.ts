/**
 * A collection together with the embedder of its vectors, looked up in one breath, so that no request mixes two models. A
 * collection may change its model while a request runs: the request is then done again, with the other.
 */
import { AnchorageError } from '../errors.js';
import type { Collection } from '../index/collection.js';
import type { Upserted } from '../index/document-writer.js';
import type { DocumentInput } from '../index/documents.js';
import { mapVector, type QueryMap } from '../index/query-map.js';
import type { Embedder } from '../model/embedder.js';
import { modelIdentity } from '../model/manifest.js';
import { type DocumentsToEmbed, embedDocuments } from './document-embedding.js';
import type { Parts } from './parts.js';

export interface LiveCollection {
  readonly collection: Collection;
  readonly embedder: Embedder;
  /** Takes the embedder's vectors into the collection's space; absent where its own model is loaded. */
  readonly queryMap?: QueryMap;
}

/** @throws AnchorageError NOT_FOUND; MODEL_MISMATCH where the model of its vectors is not loaded, nor a map to them there. */
export async function liveCollection({ collections, models }: Parts, name: string): Promise<LiveCollection> {
  const collection = collections.get(name);
  const embedder = models.of(collection.model.fingerprint);
  if (embedder) return { collection, embedder };
  const { live } = models;
  const queryMap = await collection.queryMapFrom(live.manifest.fingerprint);
  if (queryMap) return { collection, embedder: live, queryMap };
  collection.refuseOtherModel(modelIdentity(live.manifest));
  throw new AnchorageError('INTERNAL', `the model of ${name} is neither loaded nor another than the live one`);
}

/** Runs `use` with a collection, and once more where the collection changed its model meanwhile. */
export async function withLiveCollection<T>(
  parts: Parts,
  name: string,
  use: (live: LiveCollection) => Promise<T>,
): Promise<T> {
  const live = await liveCollection(parts, name);
  try {
    return await use(live);
  } catch (error) {
    if (!wasReplaced(parts, live.collection, error)) throw error;
    return use(await liveCollection(parts, name));
  }
}

export interface DocumentsToStore extends DocumentsToEmbed {
  /** The collection; the first write makes it. */
  readonly name: string;
  /** Stored after this; texts are embedded meanwhile. */
  readonly after?: Promise<unknown>;
}

type Stored = Upserted & { readonly embedder: Embedder };

/** Embeds what has no vector, and stores. @throws AnchorageError MODEL_MISMATCH where it holds another model's vectors. */
export async function storeDocuments(parts: Parts, request: DocumentsToStore): Promise<Stored> {
  await makeIfMissing(parts, request.name);
  const store = async ({ collection, embedder, queryMap }: LiveCollection): Promise<Stored> => {
    const embedded = await embedDocuments(embedder, request);
    const ready = queryMap ? embedded.map((document) => mapped(queryMap, document)) : embedded;
    await request.after;
    return { ...(await collection.upsert(ready)), embedder };
  };
  // A client's own vectors are of the model that it knew: they are not stored as another's.
  const bringsVectors = request.documents.some(({ vector }) => vector !== undefined);
  return bringsVectors
    ? store(await liveCollection(parts, request.name))
    : withLiveCollection(parts, request.name, (live) => store(live));
}

/** Its text is embedded again when the collection changes its model. */
function mapped(map: QueryMap, document: DocumentInput): DocumentInput {
  const { vector, chunks } = document;
  return {
    ...document,
    ...(vector ? { vector: mapVector(map, vector) } : {}),
    ...(chunks ? { chunks: chunks.map((chunk) => ({ ...chunk, vector: mapVector(map, chunk.vector) })) } : {}),
  };
}

async function makeIfMissing({ collections, models }: Parts, name: string): Promise<void> {
  if (!collections.has(name)) await collections.put(name, {}, modelIdentity(models.live.manifest));
}

/** Whether a request failed because its generation is no more. */
function wasReplaced({ collections }: Parts, collection: Collection, error: unknown): boolean {
  if (!(error instanceof AnchorageError) || !collections.has(collection.name)) return false;
  const isSign = error.code === 'MODEL_MISMATCH' || error.code === 'NOT_FOUND';
  return isSign && collections.get(collection.name).generation !== collection.generation;
}
