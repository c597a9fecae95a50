/**
 * A collection together with the embedder of its vectors, looked up in one breath, so that no request mixes two models. A
 * collection may change its model while a request runs: the request is then done again, with the other.
 */
import { AnchorageError } from '../errors.js';
import type { Collection } from '../index/collection.js';
import type { Upserted } from '../index/document-writer.js';
import type { Embedder } from '../model/embedder.js';
import { modelIdentity } from '../model/manifest.js';
import { type DocumentsToEmbed, embedDocuments } from './document-embedding.js';
import type { Parts } from './parts.js';

export interface LiveCollection {
  readonly collection: Collection;
  readonly embedder: Embedder;
}

/** @throws AnchorageError NOT_FOUND; MODEL_MISMATCH where the model of its vectors is not loaded. */
export function liveCollection({ collections, models }: Parts, name: string): LiveCollection {
  const collection = collections.get(name);
  const embedder = models.of(collection.model.fingerprint);
  if (embedder) return { collection, embedder };
  collection.refuseOtherModel(modelIdentity(models.live.manifest));
  throw new AnchorageError('INTERNAL', `the model of ${name} is neither loaded nor another than the live one`);
}

/** Runs `use` with a collection, and once more where the collection changed its model meanwhile. */
export async function withLiveCollection<T>(
  parts: Parts,
  name: string,
  use: (live: LiveCollection) => Promise<T>,
): Promise<T> {
  const live = liveCollection(parts, name);
  try {
    return await use(live);
  } catch (error) {
    if (!wasReplaced(parts, live.collection, error)) throw error;
    return use(liveCollection(parts, name));
  }
}

export interface DocumentsToStore extends DocumentsToEmbed {
  /** The collection; the first write makes it. */
  readonly name: string;
  /** Stored after this; texts are embedded meanwhile. */
  readonly after?: Promise<unknown>;
}

/** Embeds what has no vector, and stores. @throws AnchorageError MODEL_MISMATCH where it holds another model's vectors. */
export async function storeDocuments(
  parts: Parts,
  request: DocumentsToStore,
): Promise<Upserted & { embedder: Embedder }> {
  await makeIfMissing(parts, request.name);
  const store = async ({ collection, embedder }: LiveCollection): Promise<Upserted & { embedder: Embedder }> => {
    const ready = await embedDocuments(embedder, request);
    await request.after;
    return { ...(await collection.upsert(ready)), embedder };
  };
  // A client's own vectors are of the model that it knew: they are not stored as another's.
  const bringsVectors = request.documents.some(({ vector }) => vector !== undefined);
  return bringsVectors
    ? store(liveCollection(parts, request.name))
    : withLiveCollection(parts, request.name, (live) => store(live));
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
