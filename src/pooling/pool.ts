/**
 * From the outputs of one forward pass to one vector a text. Padding is dealt with here alone: the poolings get the rows
 * of a single text without it. Vectors leave at full length and not normalized, so that requests which differ in
 * `dimensions` or `normalize` only can share them; finishVector makes the final form.
 */
import { anchorTokenAwarePool, anchorWeights, reduceAttentions } from './anchor-token-aware.js';
import { clsPool } from './cls.js';
import { lastTokenPool } from './last-token.js';
import { meanPool } from './mean.js';
import { normalizeInto } from './normalize.js';

/** The pooling modes by name; `graph` means that the ONNX graph pools by itself. */
export type PoolingMode = 'ata' | 'mean' | 'cls' | 'last' | 'graph';

export interface Pooling {
  readonly mode: PoolingMode;
  /** Exponent of the received attention; read by mode `ata` only. */
  readonly gamma: number;
}

/** The outputs of one forward pass over a padded batch; an output that the pooling does not read may be absent. */
export interface BatchOutputs {
  readonly texts: number;
  /** Tokens of a row, padding included. */
  readonly tokens: number;
  readonly hidden: number;
  /** Tokens of each text, padding excluded; at least 1. [texts] */
  readonly lengths: Int32Array;
  readonly paddingSide: 'left' | 'right';
  /** [texts, tokens, hidden] */
  readonly hiddenStates?: Float32Array | undefined;
  /** [texts, tokens] */
  readonly receivedAttention?: Float32Array | undefined;
  /** [texts, heads, tokens, tokens] */
  readonly attentions?: Float32Array | undefined;
  /** [texts, hidden] */
  readonly sentenceEmbedding?: Float32Array | undefined;
}

/** Sees the anchor weights [tokens] of each text that is pooled by ATA. */
export type WeightsObserver = (text: number, weights: Float64Array) => void;

/** Pools every text of a batch: [texts, hidden], not normalized. */
export function poolBatch(outputs: BatchOutputs, pooling: Pooling, observe?: WeightsObserver): Float32Array {
  if (pooling.mode === 'graph') return present(outputs.sentenceEmbedding, 'sentenceEmbedding').slice();
  const vectors = new Float32Array(outputs.texts * outputs.hidden);
  for (let text = 0; text < outputs.texts; text++) {
    const out = vectors.subarray(text * outputs.hidden, (text + 1) * outputs.hidden);
    if (pooling.mode === 'ata') {
      const weights = textAnchorWeights(outputs, text, pooling.gamma);
      observe?.(text, weights);
      anchorTokenAwarePool(tokenStates(outputs, text), weights, out);
    } else {
      poolText(tokenStates(outputs, text), pooling.mode, out);
    }
  }
  return vectors;
}

function poolText(states: Float32Array, mode: 'mean' | 'cls' | 'last', out: Float32Array): void {
  if (mode === 'mean') meanPool(states, out);
  else if (mode === 'cls') clsPool(states, out);
  else lastTokenPool(states, out);
}

/** The hidden states [tokens, hidden] of one text without its padding: a view, not a copy. */
export function tokenStates(outputs: BatchOutputs, text: number): Float32Array {
  const { start, stop } = span(outputs, text);
  const row = text * outputs.tokens;
  const states = present(outputs.hiddenStates, 'hiddenStates');
  return states.subarray((row + start) * outputs.hidden, (row + stop) * outputs.hidden);
}

/** The anchor weights [tokens] of one text without its padding, from whichever form of attention the graph gives. */
export function textAnchorWeights(outputs: BatchOutputs, text: number, gamma: number): Float64Array {
  const { start, stop } = span(outputs, text);
  if (outputs.receivedAttention) {
    const row = text * outputs.tokens;
    return anchorWeights(outputs.receivedAttention.subarray(row + start, row + stop), gamma);
  }
  const attentions = present(outputs.attentions, 'attentions');
  const matrix = outputs.tokens * outputs.tokens;
  const heads = attentions.length / (outputs.texts * matrix);
  const own = attentions.subarray(text * heads * matrix, (text + 1) * heads * matrix);
  return anchorWeights(reduceAttentions(own, { heads, tokens: outputs.tokens, start, stop }), gamma);
}

/** Writes the final form of a pooled vector: the first `out.length` dimensions, at unit length if asked. */
export function finishVector(pooled: Float32Array, normalize: boolean, out: Float32Array): void {
  if (normalize) normalizeInto(pooled, out);
  else out.set(pooled.subarray(0, out.length));
}

function span({ tokens, lengths, paddingSide }: BatchOutputs, text: number): { start: number; stop: number } {
  const length = lengths[text]!;
  const start = paddingSide === 'left' ? tokens - length : 0;
  return { start, stop: start + length };
}

function present(output: Float32Array | undefined, name: string): Float32Array {
  if (!output) throw new TypeError(`this pooling reads the output ${name}, which was not fetched`);
  return output;
}
