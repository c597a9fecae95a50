/** The exact answers that recall is counted against: a plain pass in double precision, sharing no code with the index. */

/** @returns a query's `k` nearest by inner product, best first, as positions in `base`; ties by position. */
export function exactNearest(
  base: readonly Float32Array[],
  query: Float32Array,
  k: number,
  passes: (position: number) => boolean = () => true,
): number[] {
  const best: { position: number; score: number }[] = [];
  for (const [position, vector] of base.entries()) {
    if (!passes(position)) continue;
    const score = innerProduct(vector, query);
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
