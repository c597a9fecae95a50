/** The exact answers that recall is counted against: a plain pass in double precision, sharing no code with the index. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Vectors } from './search-vectors.js';

/** @returns ids by query. Reckoned once for the vectors kept in `folder`: minutes for 1,000 queries of 100,000. */
export function keptTruth(folder: string, { base, queries }: Vectors, k: number): string[][] {
  const file = join(folder, `truth-${base.length}-${queries.length}.json`);
  if (!existsSync(file)) {
    writeFileSync(file, JSON.stringify(queries.map((query) => exactNearest(base, query, k).map(String))));
  }
  return JSON.parse(readFileSync(file, 'utf8')) as string[][];
}

/** @returns a query's `k` nearest by inner product, best first, as positions in `base`; ties by position. */
export function exactNearest(
  base: readonly Float32Array[],
  query: Float32Array,
  k: number,
  passes: (position: number) => boolean = () => true,
): number[] {
  const best: { position: number; score: number }[] = [];
  for (let position = 0; position < base.length; position++) {
    if (!passes(position)) continue;
    const score = innerProduct(base[position]!, query);
    if (best.length === k && score <= best[k - 1]!.score) continue;
    let rank = best.length;
    while (rank > 0 && best[rank - 1]!.score < score) rank--;
    best.splice(rank, 0, { position, score });
    if (best.length > k) best.pop();
  }
  return best.map(({ position }) => position);
}

function innerProduct(a: Float32Array, b: Float32Array): number {
  let even = 0;
  let odd = 0;
  for (let i = 0; i + 1 < a.length; i += 2) {
    even += a[i]! * b[i]!;
    odd += a[i + 1]! * b[i + 1]!;
  }
  return a.length % 2 === 0 ? even + odd : even + odd + a[a.length - 1]! * b[a.length - 1]!;
}
