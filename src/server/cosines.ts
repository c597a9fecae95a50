/** Similarities of one unit vector to the rows of a matrix. */

/**
 * @param query [dimensions], of unit length
 * @param vectors [count, dimensions], rows of unit length
 * @returns one cosine a row
 */
export function cosinesTo(query: Float32Array, vectors: Float32Array): number[] {
  const dimensions = query.length;
  const cosines: number[] = [];
  for (let start = 0; start < vectors.length; start += dimensions) {
    let dot = 0;
    for (let i = 0; i < dimensions; i++) dot += query[i]! * vectors[start + i]!;
    cosines.push(dot);
  }
  return cosines;
}
