/**
 * Float vectors as JSON text, fast. JSON.stringify prints the 17 digits of a double for a number that has only 24 bits;
 * here a component of a unit vector is written with nine decimals by integer arithmetic straight into bytes.
 *
 * Exactness: the error is at most 5e-10, less than half a unit in the last place of a float32 of 0.015 or more, and for
 * smaller ones far below what any similarity can see (384 components: 1e-8 in a cosine). A vector that holds a component
 * of magnitude 2 or more (not normalized) is written by the slow, exact way.
 */
const DECIMALS = 1_000_000_000;
const LARGEST_FAST = 2;
/** "-1.123456789," */
const BYTES_PER_NUMBER_MAX = 13;
const ZERO = 48;

/**
 * @param vector [dimensions]
 * @returns the bytes of `[0.012345678,-0.1,…]`
 */
export function vectorJson(vector: Float32Array): Buffer {
  const bytes = Buffer.allocUnsafe(vector.length * BYTES_PER_NUMBER_MAX + 2);
  const end = writeVector(vector, bytes);
  return end < 0 ? Buffer.from(exactJson(vector), 'latin1') : bytes.subarray(0, end);
}

/** Writes the vector at the start of `bytes`. @returns where it ends, or -1 where a component is too large or not finite. */
function writeVector(vector: Float32Array, bytes: Buffer): number {
  let at = 0;
  bytes[at++] = 91; // [
  for (let i = 0; i < vector.length; i++) {
    let value = vector[i]!;
    if (i > 0) bytes[at++] = 44; // ,
    if (value < 0) {
      bytes[at++] = 45; // -
      value = -value;
    }
    if (!(value < LARGEST_FAST)) return -1;
    let scaled = Math.round(value * DECIMALS);
    const whole = scaled >= DECIMALS ? 1 : 0;
    scaled -= whole * DECIMALS;
    bytes[at] = ZERO + whole;
    bytes[at + 1] = 46; // .
    at += 2;
    const millions = (scaled / 1_000_000) | 0;
    scaled -= millions * 1_000_000;
    const thousands = (scaled / 1000) | 0;
    at = writeThreeDigits(bytes, at, millions);
    at = writeThreeDigits(bytes, at, thousands);
    at = writeThreeDigits(bytes, at, scaled - thousands * 1000);
  }
  bytes[at++] = 93; // ]
  return at;
}

/** "000" to "999" as bytes, three to a number. */
const THREE_DIGITS = Buffer.from(Array.from({ length: 1000 }, (_, n) => String(n).padStart(3, '0')).join(''));

function writeThreeDigits(bytes: Buffer, at: number, number: number): number {
  const digits = number * 3;
  bytes[at] = THREE_DIGITS[digits]!;
  bytes[at + 1] = THREE_DIGITS[digits + 1]!;
  bytes[at + 2] = THREE_DIGITS[digits + 2]!;
  return at + 3;
}

/** Shortest text that reads back as the same float32 where nine significant digits suffice; null where not finite. */
function exactJson(vector: Float32Array): string {
  const numbers = Array.from(vector, (value) =>
    Number.isFinite(value) ? String(Number(value.toPrecision(9))) : 'null',
  );
  return `[${numbers.join(',')}]`;
}

/**
 * The rows of a matrix as JSON arrays, a piece at a time, so that a large answer neither blocks the thread nor is held
 * whole as text.
 * @param vectors [count, dimensions], row-major
 */
export function* matrixJson(vectors: Float32Array, dimensions: number): Generator<Buffer> {
  const count = dimensions === 0 ? 0 : vectors.length / dimensions;
  const separator = Buffer.from(',');
  yield Buffer.from('[');
  for (let row = 0; row < count; row++) {
    if (row > 0) yield separator;
    yield vectorJson(vectors.subarray(row * dimensions, (row + 1) * dimensions));
  }
  yield Buffer.from(']');
}
