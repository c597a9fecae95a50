/** What a sample of live queries finds before and after: how many of ten results stay, and what the new graph misses. */
import { AnchorageError } from '../errors.js';
import type { Collection } from '../index/collection.js';
import type { NextGeneration } from '../index/next-generation.js';
import type { Embedder } from '../model/embedder.js';
import { promptFor } from '../model/prompts.js';
import type { Json } from './job.js';
import type { JobContext } from './job-context.js';

const K = 10;

/**
 * @returns figures a collection, or why there are none; nothing where nobody has asked anything. They inform, and decide
 *   nothing: what an operator could mend (a full queue) does not end the deployment.
 */
export async function compareAnswers(
  context: JobContext,
  next: Embedder,
  built: readonly NextGeneration[],
): Promise<{ answers: Json[] }> {
  const { collections, models, recentQueries } = context.parts;
  const answers: Json[] = [];
  for (const generation of built) {
    const texts = recentQueries.of(generation.name);
    if (texts.length === 0 || !collections.generations.isBeingBuilt(generation)) continue;
    const old = models.of(collections.get(generation.name).model.fingerprint);
    if (!old) continue;
    const figures = await compared(context, { old, next, generation, texts }).catch((error) => {
      if (context.signal.aborted || !(error instanceof AnchorageError)) throw error;
      return { notCompared: error.message };
    });
    answers.push({ collection: generation.name, queries: texts.length, ...figures });
  }
  return { answers };
}

interface Compared {
  readonly old: Embedder;
  readonly next: Embedder;
  readonly generation: NextGeneration;
  readonly texts: readonly string[];
}

async function compared(context: JobContext, { old, next, generation, texts }: Compared): Promise<Json> {
  const collection = context.parts.collections.get(generation.name);
  const [before, after] = [await embedQueries(context, old, texts), await embedQueries(context, next, texts)];
  let kept = 0;
  let found = 0;
  for (const [at] of texts.entries()) {
    context.throwIfStopped();
    context.at(`deploy: 5 compare ${generation.name}`, at / texts.length);
    const theirs = await nearest(collection, before[at]!);
    const ours = await generation.nearest(after[at]!, K);
    const exact = await generation.nearest(after[at]!, K, true);
    kept += shared(theirs, ours) / Math.max(1, theirs.length);
    found += shared(exact, ours) / Math.max(1, exact.length);
  }
  const share = (sum: number): number => Math.round((sum / texts.length) * 10_000) / 10_000;
  return { keptOfTop10: share(kept), recallOfGraph: share(found) };
}

async function embedQueries(
  { signal }: JobContext,
  embedder: Embedder,
  texts: readonly string[],
): Promise<Float32Array[]> {
  const prompt = promptFor('query', undefined, embedder.manifest);
  const { vectors, dimensions } = await embedder.embed(texts, { lane: 'bulk', prompt, normalize: true, signal });
  return texts.map((_, index) => vectors.slice(index * dimensions, (index + 1) * dimensions));
}

async function nearest(collection: Collection, vector: Float32Array): Promise<string[]> {
  const { results } = await collection.search({ vector, k: K, mode: 'dense', include: [] });
  return results.map(({ id }) => id);
}

const shared = (one: readonly string[], other: readonly string[]): number =>
  one.filter((id) => other.includes(id)).length;
