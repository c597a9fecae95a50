/** The golden data of README.md, its numbers unpacked. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { PoolingChoice } from '../../src/model/embedding-types.js';

export interface GoldenText {
  readonly text: string;
  readonly tokenIds: readonly number[];
  /** Base64 by pooling: normalized, [dimensions]. */
  readonly embeddings: Readonly<Record<string, string>>;
}

export interface GoldenDetail {
  /** Index among the texts. */
  readonly text: number;
  readonly heads: number;
  readonly tokens: number;
  readonly hiddenStates: string;
  readonly attentions: string;
  readonly receivedAttention: string;
}

export interface Golden {
  readonly dimensions: number;
  readonly maxTokens: number;
  readonly tolerances: {
    readonly float32: { readonly maxDifference: number };
    readonly int8: { readonly minCosine: number; readonly meanCosine: number; readonly batchMinCosine: number };
  };
  readonly poolings: Readonly<Record<string, PoolingChoice>>;
  readonly texts: readonly GoldenText[];
  readonly details: readonly GoldenDetail[];
}

const file = new URL('embeddings.json.gz', import.meta.url);
export const golden = JSON.parse(gunzipSync(readFileSync(file)).toString('utf8')) as Golden;

/** Numbers as the file keeps them: base64 of little-endian float32. */
export function floats(base64: string): Float32Array {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(new Uint8Array(bytes).buffer);
}

export function maxDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
}
