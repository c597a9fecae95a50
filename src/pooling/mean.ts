/** Mean pooling: e = sum_j H_j / n over the n tokens that are not padding (Sentence-BERT, arXiv 1908.10084). */

/** Writes the mean of the rows of `states` [tokens, hidden] to `out` [hidden]; summed in double precision. */
export function meanPool(states: Float32Array, out: Float32Array): void {
  const hidden = out.length;
  const sums = new Float64Array(hidden);
  for (let at = 0; at < states.length; at += hidden) {
    for (let d = 0; d < hidden; d++) sums[d]! += states[at + d]!;
  }
  const share = hidden / states.length;
  for (let d = 0; d < hidden; d++) out[d] = sums[d]! * share;
}
