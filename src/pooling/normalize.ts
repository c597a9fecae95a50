/**
 * Unit length: e / |e|, so that a dot product is a cosine. A Matryoshka cut comes first, because the length of the cut
 * vector is what counts (arXiv 2205.13147).
 */

/**
 * Writes the first `out.length` entries of `vector` to `out`, divided by their Euclidean length. A zero vector stays
 * zero. The length is summed in double precision.
 */
export function normalizeInto(vector: Float32Array, out: Float32Array): void {
  let squares = 0;
  for (let d = 0; d < out.length; d++) squares += vector[d]! * vector[d]!;
  const scale = squares === 0 ? 0 : 1 / Math.sqrt(squares);
  for (let d = 0; d < out.length; d++) out[d] = vector[d]! * scale;
}
