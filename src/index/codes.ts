/**
 * What memory holds of a vector: its code. float32 keeps the floats, int8 one signed byte a dimension, binary the signs,
 * one bit a dimension. Codes of fewer dimensions than the vector are its first ones, brought back to length 1 (Matryoshka,
 * arXiv 2205.13147). Scores of codes rank only; results are scored by full vectors.
 *
 * int8: a component x becomes round(127 * clamp(x * scale, -1, 1)). A unit vector's components are near 1/sqrt(n), so with
 * scale = sqrt(n) / 4.5 the byte's range spans 4.5 standard deviations; usearch's own [-1, 1] would leave 6 steps of 127.
 */
import type { Quantization } from './collection-settings.js';

export type Code = Float32Array | Int8Array | Uint32Array;

export interface Codec {
  readonly quantization: Quantization;
  readonly dimensions: number;
  /** Elements of one code's typed array. */
  readonly length: number;
  readonly bytes: number;
  allocate(codes: number): Code;
  /** Writes the code of `vector` at element `offset` of `into`. */
  encode(vector: Float32Array, into: Code, offset: number): void;
}

/** Standard deviations of a component that int8's range spans. */
const INT8_DEVIATIONS = 4.5;

export const int8Scale = (dimensions: number): number => Math.sqrt(dimensions) / INT8_DEVIATIONS;

export function createCodec(quantization: Quantization, dimensions: number): Codec {
  switch (quantization) {
    case 'float32':
      return float32Codec(dimensions);
    case 'int8':
      return int8Codec(dimensions);
    case 'binary':
      return binaryCodec(dimensions);
  }
}

function float32Codec(dimensions: number): Codec {
  return {
    quantization: 'float32',
    dimensions,
    length: dimensions,
    bytes: dimensions * 4,
    allocate: (codes) => new Float32Array(codes * dimensions),
    encode: (vector, into, offset) => (into as Float32Array).set(firstDimensions(vector, dimensions), offset),
  };
}

function int8Codec(dimensions: number): Codec {
  const scale = 127 * int8Scale(dimensions);
  return {
    quantization: 'int8',
    dimensions,
    length: dimensions,
    bytes: dimensions,
    allocate: (codes) => new Int8Array(codes * dimensions),
    encode: (vector, into, offset) => {
      const short = firstDimensions(vector, dimensions);
      for (let i = 0; i < dimensions; i++) {
        into[offset + i] = Math.max(-127, Math.min(127, Math.round(short[i]! * scale)));
      }
    },
  };
}

function binaryCodec(dimensions: number): Codec {
  const words = Math.ceil(dimensions / 32);
  return {
    quantization: 'binary',
    dimensions,
    length: words,
    bytes: words * 4,
    allocate: (codes) => new Uint32Array(codes * words),
    encode: (vector, into, offset) => {
      into.fill(0, offset, offset + words);
      for (let i = 0; i < dimensions; i++) if (vector[i]! > 0) into[offset + (i >> 5)]! |= 1 << (i & 31);
    },
  };
}

/** @returns `vector` itself, or its first dimensions with length 1 (all zeros stay zeros). */
export function firstDimensions(vector: Float32Array, dimensions: number): Float32Array {
  if (vector.length === dimensions) return vector;
  const short = vector.slice(0, dimensions);
  let sum = 0;
  for (const value of short) sum += value * value;
  if (sum === 0) return short;
  const length = Math.sqrt(sum);
  return short.map((value) => value / length);
}
