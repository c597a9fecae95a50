/** The hot loops over codes, without allocation. Four sums at once: a single one would wait for each addition in turn. */

/** Inner product of a[aOffset …] and b[0 …], over `length` elements. */
export function dot(a: Float32Array | Int8Array, aOffset: number, b: Float32Array | Int8Array, length: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const whole = length - (length % 4);
  for (let i = 0; i < whole; i += 4) {
    const j = aOffset + i;
    s0 += a[j]! * b[i]!;
    s1 += a[j + 1]! * b[i + 1]!;
    s2 += a[j + 2]! * b[i + 2]!;
    s3 += a[j + 3]! * b[i + 3]!;
  }
  for (let i = whole; i < length; i++) s0 += a[aOffset + i]! * b[i]!;
  return s0 + s1 + s2 + s3;
}

/** Bits in which two codes agree, less those in which they differ: in [-32 * words, 32 * words], higher is nearer. */
export function bitAgreement(a: Uint32Array, aOffset: number, b: Uint32Array, words: number): number {
  let different = 0;
  for (let i = 0; i < words; i++) {
    let bits = a[aOffset + i]! ^ b[i]!;
    bits -= (bits >>> 1) & 0x55555555;
    bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
    different += Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return 32 * words - 2 * different;
}
