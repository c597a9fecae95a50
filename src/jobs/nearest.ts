/** Exact nearest neighbours of a few thousand vectors, for measuring. Vectors have length 1, so that a dot product is a cosine. */
import { dot } from '../index/kernels.js';

/** Rows of the k nearest for each query, best first. @param leaveOutSelf where query i is row i. */
export function neighbours(
  queries: readonly Float32Array[],
  vectors: readonly Float32Array[],
  { k, leaveOutSelf }: { k: number; leaveOutSelf: boolean },
): number[][] {
  return queries.map((query, self) =>
    vectors
      .map((vector, row) => ({ row, score: dot(query, 0, vector, query.length) }))
      .filter(({ row }) => !leaveOutSelf || row !== self)
      .sort((a, b) => b.score - a.score)
      .slice(0, k)
      .map(({ row }) => row),
  );
}

/** Mean share of `wanted` that was found. */
export function shareFound(found: readonly (readonly number[])[], wanted: readonly (readonly number[])[]): number {
  const shares = wanted.map((rows, query) => {
    const here = new Set(found[query]);
    return rows.filter((row) => here.has(row)).length / rows.length;
  });
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}
