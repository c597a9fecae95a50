/**
 * What the main thread and its worker threads say to each other; both sides import these types. Every request gets one
 * reply, or the thread dies. Arrays are transferred, never copied: the sender loses them.
 */
import type { ErrorCode } from '../errors.js';
import type { Pooling } from '../pooling/pool.js';
import type { Token } from './embedding-types.js';
import type { EncoderOptions, EngineInUse } from './encoder.js';
import type { TruncationDirection } from './tokenization/truncation.js';

/** The first message of a thread: what it learned while it started, or why it could not. */
export type Started<Info> = { readonly info: Info } | { readonly fault: Fault };

export type Envelope<Request> = { readonly id: number; readonly request: Request };

/** Asks a thread to end when it has answered what came before. */
export const STOP = 'stop';

export type Answer<Reply> =
  | { readonly id: number; readonly reply: Reply }
  | { readonly id: number; readonly fault: Fault };

/** An error as it crosses threads; `code` where it is an operational one. */
export interface Fault {
  readonly message: string;
  readonly code?: ErrorCode;
  readonly field?: string;
}

/** What is to be made of a batch's forward pass. */
export type Work =
  | {
      readonly kind: 'vectors';
      readonly pooling: Pooling;
      /** The exit that the text leaves the model by, as the number of layers that are computed; absent: all of them. */
      readonly layers?: number | undefined;
    }
  | { readonly kind: 'tokens' }
  | { readonly kind: 'anchors'; readonly gamma: number };

export interface InferenceWorkerData extends EncoderOptions {
  /** Whether the thread leaves the cores to threads that answer, see thread-priority.ts. */
  readonly givesWay: boolean;
}

export interface InferenceInfo {
  /** Length of a hidden state; undefined where the graph gives none. */
  readonly hidden: number | undefined;
  readonly engine: EngineInUse;
  /** As Encoder has it. */
  readonly whyNotNative?: string | undefined;
}

export interface InferenceRequest {
  readonly work: Work;
  /** Token ids of all texts in a row, without padding. */
  readonly ids: Int32Array;
  /** Tokens of each text. */
  readonly lengths: Int32Array;
}

export interface InferenceReply {
  /** vectors: [texts, dimensions]; tokens: [all tokens, dimensions]; anchors: the weights, [all tokens]. */
  readonly values: Float32Array;
  /** Entropy ratio of each text's anchor weights; empty where nothing was pooled by ATA. */
  readonly entropyRatios: Float32Array;
  /** Texts for which the model gave a value that is not a finite number. */
  readonly broken: readonly number[];
  /** What was computed beyond the texts' own tokens. */
  readonly paddingTokens: number;
  readonly inferenceMs: number;
  readonly poolMs: number;
}

export interface TokenizerWorkerData {
  readonly folder: string;
}

export interface TokenizerInfo {
  readonly vocabularySize: number;
  /** The special tokens around every text, and how the vocabulary spells them. */
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  readonly spellings: ReadonlyMap<number, string>;
}

export interface CutRequest {
  readonly kind: 'cut';
  readonly texts: readonly string[];
  readonly maxTokens: number;
  readonly direction: TruncationDirection;
  readonly withSpans: boolean;
}

export interface CutReply {
  /** Token ids of all texts in a row, special tokens included. */
  readonly ids: Int32Array;
  /** Where each id stands in its text, in UTF-16 code units, -1 for special tokens; empty unless asked for. */
  readonly starts: Int32Array;
  readonly stops: Int32Array;
  /** Tokens of each text. */
  readonly lengths: Int32Array;
  /** 1 for each text that was cut. */
  readonly truncated: Uint8Array;
  readonly tokenizeMs: number;
}

/** The tokens of texts as /tokenize shows them, never cut. */
export interface TokensRequest {
  readonly kind: 'tokens';
  readonly texts: readonly string[];
  readonly addSpecialTokens: boolean;
}

export interface DecodeRequest {
  readonly kind: 'decode';
  readonly ids: readonly (readonly number[])[];
  readonly skipSpecialTokens: boolean;
}

/** How the vocabulary spells token ids. */
export interface SpellRequest {
  readonly kind: 'spell';
  readonly ids: readonly number[];
}

export type TokenizerRequest = CutRequest | TokensRequest | DecodeRequest | SpellRequest;
export type TokenizerReply = CutReply | Token[][] | string[];
