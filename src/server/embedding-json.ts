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
/** Rows are written into pieces of about this size: an allocation for every row cost more than its digits. */
const PIECE_BYTES = 128 * 1024;

/**
 * @param vector [dimensions]
 * @returns the bytes of `[0.012345678,-0.1,…]`
 */
export function vectorJson(vector: Float32Array): Buffer {
  const room = roomFor(vector.length);
  const end = writeVector(vector, room, 0);
  return end < 0 ? Buffer.from(exactJson(vector), 'latin1') : room.bytes.subarray(0, end);
}

/** The same memory as bytes and as words. */
interface Room {
  readonly bytes: Buffer;
  readonly words: DataView;
}

function roomFor(numbers: number, rows = 1): Room {
  const bytes = Buffer.allocUnsafe(numbers * BYTES_PER_NUMBER_MAX + 3 * rows);
  return { bytes, words: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
}

/** Writes the vector at `at`. @returns where it ends, or -1 where a component is too large or not finite. */
function writeVector(vector: Float32Array, { bytes, words }: Room, at: number): number {
  bytes[at++] = 91; // [
  for (let i = 0; i < vector.length; i++) {
    let value = vector[i]!;
    if (value < 0) {
      bytes[at++] = 45; // -
      value = -value;
    }
    if (!(value < LARGEST_FAST)) return -1;
    // Below 2^31: the whole of it and the first decimal, then two times four decimals.
    const billionths = (value * DECIMALS + 0.5) | 0;
    const tenths = (billionths / 100_000_000) | 0;
    const rest = billionths - tenths * 100_000_000;
    const middle = (rest / 10_000) | 0;
    const whole = tenths >= 10 ? 1 : 0;
    bytes[at] = ZERO + whole;
    bytes[at + 1] = 46; // .
    bytes[at + 2] = ZERO + tenths - whole * 10;
    words.setUint32(at + 3, FOUR_DIGITS[middle]!);
    words.setUint32(at + 7, FOUR_DIGITS[rest - middle * 10_000]!);
    bytes[at + 11] = 44; // ,
    at += 12;
  }
  // The last comma, or what follows the bracket of a vector without components.
  bytes[vector.length > 0 ? at - 1 : at++] = 93; // ]
  return at;
}

/** "0000" to "9999", four bytes a word, the first digit in the highest. */
const FOUR_DIGITS = Uint32Array.from({ length: 10_000 }, (_, n) =>
  Buffer.from(String(n).padStart(4, '0')).readUInt32BE(),
);

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
  const rowsAPiece = Math.max(1, Math.floor(PIECE_BYTES / (dimensions * BYTES_PER_NUMBER_MAX + 3)));
  if (count === 0) yield Buffer.from('[');
  for (let row = 0; row < count; row += rowsAPiece) {
    const rows = vectors.subarray(row * dimensions, Math.min(count, row + rowsAPiece) * dimensions);
    yield rowsJson(rows, dimensions, row === 0 ? '[' : ',');
  }
  yield Buffer.from(']');
}

/** `before`, then the rows with commas between them. */
function rowsJson(vectors: Float32Array, dimensions: number, before: string): Buffer {
  const count = vectors.length / dimensions;
  const rows = Array.from({ length: count }, (_, row) => vectors.subarray(row * dimensions, (row + 1) * dimensions));
  const room = roomFor(vectors.length, count);
  let at = 0;
  for (const row of rows) {
    at += room.bytes.write(at === 0 ? before : ',', at, 'latin1');
    at = writeVector(row, room, at);
    if (at < 0) return Buffer.from(before + rows.map((one) => vectorJson(one).toString('latin1')).join(','), 'latin1');
  }
  return room.bytes.subarray(0, at);
}
