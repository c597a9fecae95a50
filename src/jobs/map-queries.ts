/** Gives a collection a map from another model's queries to the vectors that it holds, fitted from its own texts. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import type { Collection } from '../index/collection.js';
import type { Collections } from '../index/collections.js';
import type { EmbeddedText } from '../index/document-reader.js';
import type { QueryMap, QueryMapFacts } from '../index/query-map.js';
import type { Embedder } from '../model/embedder.js';
import { modelIdentity } from '../model/manifest.js';
import { promptFor } from '../model/prompts.js';
import { workerUrl } from '../worker-url.js';
import { type EmbeddedTwice, TEXTS_MIN } from './query-drift.js';

/** More texts, a better map: bench/query-drift.ts. Embedding these takes a minute or two of two cores, fitting some seconds. */
const TEXTS = 5_000;
const GROUP_TEXTS = 128;

/** What query-drift-worker.ts is given. */
export interface FitRequest {
  readonly models: { readonly from: QueryMap['from']; readonly to: QueryMap['to'] };
  readonly texts: EmbeddedTwice;
}

/**
 * Fits a map from a loaded model to the one whose vectors the collection holds, and keeps it with the collection: from then
 * on the collection is searched with that model's queries too.
 * @param texts how many of its texts are embedded for it.
 * @throws AnchorageError VALIDATION where there are too few texts.
 */
export async function mapQueries(
  collections: Collections,
  { name, embedder }: { name: string; embedder: Embedder },
  { signal, texts = TEXTS }: { signal: AbortSignal; texts?: number },
): Promise<QueryMapFacts> {
  const collection = collections.get(name);
  const sample = await sampleFor(collections, collection, texts);
  const from: Float32Array[] = [];
  const prompt = promptFor('document', undefined, embedder.manifest);
  for (let first = 0; first < sample.length; first += GROUP_TEXTS) {
    const group = sample.slice(first, first + GROUP_TEXTS).map(({ text }) => text);
    const { vectors, dimensions } = await embedder.embed(group, { lane: 'bulk', normalize: true, prompt, signal });
    for (let row = 0; row < group.length; row++) from.push(vectors.slice(row * dimensions, (row + 1) * dimensions));
  }
  const models = { from: modelIdentity(embedder.manifest), to: collection.model };
  const map = await fitInThread({ models, texts: { from, to: sample.map(({ vector }) => vector) } }, signal);
  await collection.storeQueryMap(map);
  const { matrix: _, ...facts } = map;
  return facts;
}

/** The collection's own texts; where there are too few, those of others that the same model embedded. */
async function sampleFor(collections: Collections, collection: Collection, texts: number): Promise<EmbeddedText[]> {
  const { fingerprint } = collection.model;
  const others = collections.list().filter((one) => one !== collection && one.model.fingerprint === fingerprint);
  const sample: EmbeddedText[] = [];
  for (const source of [collection, ...others]) {
    if (sample.length >= (source === collection ? texts : TEXTS_MIN)) break;
    sample.push(...(await source.sample(texts - sample.length)));
  }
  if (sample.length >= TEXTS_MIN) return sample;
  throw new AnchorageError(
    'VALIDATION',
    `collection ${collection.name}: a map to ${collection.model.id} is fitted from ${TEXTS_MIN} texts that it embedded, and ` +
      `there are ${sample.length}; store more texts by that model, in any collection`,
  );
}

async function fitInThread(request: FitRequest, signal: AbortSignal): Promise<QueryMap> {
  signal.throwIfAborted();
  const worker = new Worker(workerUrl('jobs/query-drift-worker.js'), { workerData: request });
  try {
    const [answer] = (await once(worker, 'message', { signal })) as [QueryMap | { problem: string }];
    if ('problem' in answer) throw new AnchorageError('VALIDATION', answer.problem);
    return answer;
  } finally {
    await worker.terminate();
  }
}
