/** What a sample of live queries finds before and after: how many of ten results stay, and what the new graph misses. */
import type { Collection } from '../index/collection.js';
import type { NextGeneration } from '../index/next-generation.js';
import type { Embedder } from '../model/embedder.js';
import { promptFor } from '../model/prompts.js';
import type { Json } from './job.js';
import type { JobContext } from './job-context.js';

const K = 10;

/** @returns figures a collection; none where nobody has asked anything. They inform, and decide nothing. */
export async function compareAnswers(
  context: JobContext,
  next: Embedder,
  built: readonly NextGeneration[],
): Promise<{ answers: Json[] }> {
  const { collections, models, recentQueries } = context.parts;
  const answers: Json[] = [];
  for (const generation of built) {
    const texts = recentQueries.of(generation.name);
    if (texts.length === 0 || !collections.has(generation.name)) continue;
    const collection = collections.get(generation.name);
    const old = models.of(collection.model.fingerprint);
    if (!old) continue;
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
    answers.push({
      collection: generation.name,
      queries: texts.length,
      keptOfTop10: share(kept),
      recallOfGraph: share(found),
    });
  }
  return { answers };
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
