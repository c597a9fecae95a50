/**
 * What the embed path takes and gives: the types that routes, embedder, cache and workers share. Vectors cross every
 * border as one row-major Float32Array with its shape beside it, never as arrays of arrays.
 */
import type { PoolingMode } from '../pooling/pool.js';

/** Queries go before bulk work (with aging, so that bulk never starves). */
export type Lane = 'query' | 'bulk';

/** A text, or token ids that already hold their special tokens. */
export type EmbedInput = string | readonly number[];

export interface PoolingChoice {
  readonly mode: PoolingMode;
  /** Exponent of the received attention; only for mode `ata`. 0 is mean pooling, 1 the paper's reading. */
  readonly gamma?: number;
}

export interface TokenizeOptions {
  /** Cut texts that are longer than the model takes; otherwise such a text is refused with TEXT_TOO_LONG. Default true. */
  readonly truncate?: boolean;
  /** The side that loses tokens. Special tokens are kept. Default 'right'. */
  readonly truncationDirection?: 'left' | 'right';
  /** Put before every text (not before token ids). Default ''. */
  readonly prompt?: string;
  /** What the request calls its list of inputs; errors name `<field>[<index>]`. Default 'inputs'. */
  readonly field?: string;
  /** Where these inputs begin in the list of that name, for errors too, when a list goes through in parts. Default 0. */
  readonly firstIndex?: number;
}

export interface EmbedOptions extends TokenizeOptions {
  readonly lane: Lane;
  /** Default: the manifest's. */
  readonly pooling?: PoolingChoice;
  /** Scale to unit length, after the cut to `dimensions`. Default: the manifest's. */
  readonly normalize?: boolean;
  /** Compute so many layers only: one of the manifest's exits. Default: all layers. */
  readonly layers?: number;
  /** Keep the first so many dimensions (Matryoshka). Default: all; with `layers`, the most that the exit has. */
  readonly dimensions?: number;
  /** Aborted when the client hangs up: what still waits in the queue is dropped. */
  readonly signal?: AbortSignal;
}

/** Milliseconds of one request: tokenization and inference are sums over its batches' shares, queue the longest wait. */
export interface EmbedTimings {
  readonly tokenizationMs: number;
  readonly queueMs: number;
  readonly inferenceMs: number;
}

export interface EmbedUsage {
  /** Tokens a text, special tokens included, after truncation; one number an input. */
  readonly tokenCounts: Int32Array;
  /** Sum of tokenCounts. */
  readonly tokens: number;
  readonly characters: number;
  /** How many inputs were cut. */
  readonly truncated: number;
  readonly timings: EmbedTimings;
}

export interface Embeddings extends EmbedUsage {
  /** [count, dimensions], row-major. */
  readonly vectors: Float32Array;
  readonly count: number;
  readonly dimensions: number;
}

export interface TokenEmbeddings extends EmbedUsage {
  /** One Float32Array [tokens, dimensions] an input, special tokens included. */
  readonly tokenVectors: readonly Float32Array[];
  readonly dimensions: number;
}

/** A token where it stands: `start` and `stop` count UTF-16 code units of the input text; null for special tokens. */
export interface Token {
  readonly id: number;
  readonly text: string;
  readonly special: boolean;
  readonly start: number | null;
  readonly stop: number | null;
}

export interface Anchor extends Token {
  /** The token's share of the pooled embedding; the weights of an input sum to 1. */
  readonly weight: number;
}

export interface Anchors extends EmbedUsage {
  /** One list an input, in token order. */
  readonly anchors: readonly (readonly Anchor[])[];
}
