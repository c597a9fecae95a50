/** Seeded data and temporary folders for the index's tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { ModelIdentity } from '../../src/index/collection-settings.js';
import { Collections, type CollectionsOptions } from '../../src/index/collections.js';
import { createMetrics } from '../../src/metrics.js';

/** mulberry32: small, seeded, good enough for test data. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function normalized(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return vector.map((value) => value / length);
}

/** Unit vectors around random centres: neighbours are real neighbours, as with text. */
export function clusteredVectors(count: number, dimensions: number, seed: number, clusters = 32): Float32Array[] {
  const random = seededRandom(seed);
  const gaussian = (): number => random() + random() + random() + random() - 2;
  const centres = Array.from({ length: clusters }, () => Float32Array.from({ length: dimensions }, gaussian));
  return Array.from({ length: count }, () => {
    const centre = centres[Math.floor(random() * clusters)]!;
    return normalized(centre.map((value) => value + 0.8 * gaussian()));
  });
}

export function cosine(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** Indices of the k nearest, by exact search. */
export function nearest(vectors: readonly Float32Array[], query: Float32Array, k: number): number[] {
  return vectors
    .map((vector, index) => ({ index, score: cosine(vector, query) }))
    .sort((a, b) => b.score - a.score)
    .slice(0, k)
    .map(({ index }) => index);
}

export const testModel = (dimensions: number, version = '1'): ModelIdentity => ({
  fingerprint: version.repeat(64).slice(0, 64),
  id: `test@${version}`,
  dimensions,
});

/** A folder that goes when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'anchorage-index-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Collections that are closed when the test ends, if the test has not. */
export async function openCollections(
  dataDir: string,
  options: Partial<CollectionsOptions> = {},
): Promise<Collections> {
  const collections = await Collections.open({ dataDir, metrics: createMetrics(), ...options });
  let closed = false;
  const close = collections.close.bind(collections);
  collections.close = async () => {
    if (closed) return;
    closed = true;
    await close();
  };
  onTestFinished(() => collections.close());
  return collections;
}
