/**
 * What must hold of a graph before it gets a manifest, seen on real forward passes over padded batches:
 *
 * 1. its hidden states are those of the graph it was made from;
 * 2. received attention is finite, 0 at padding, and sums to heads x tokens over each text (every row of attention
 *    sums to 1);
 * 3. embeddings are finite and not null.
 *
 * How far a text's embedding moves with its batch is measured here, too; it is a property to record, not a fault.
 */
import { AnchorageError } from '../../errors.js';
import { type BatchOutputs, type Pooling, poolBatch } from '../../pooling/pool.js';
import type { ProbeBatch } from './probe-batch.js';

/** Cosine between a text's embedding alone and in company from which on a graph counts as batch-invariant. */
export const BATCH_INVARIANT_COSINE = 0.9999;
/** Largest change of a hidden state relative to their root mean square: fused kernels round differently. */
const HIDDEN_STATES_TOLERANCE = 1e-3;
/** Sums over thousands of float32 (or rounded float16) attentions, relative. */
const ROW_SUM_TOLERANCE = 2e-3;

/** @returns the largest difference, relative to the root mean square of the original's hidden states */
export function checkSameHiddenStates(before: Float32Array, after: Float32Array): number {
  const rms = Math.sqrt(before.reduce((sum, value) => sum + value * value, 0) / before.length);
  let largest = 0;
  for (let i = 0; i < before.length; i++) largest = Math.max(largest, Math.abs(after[i]! - before[i]!));
  const difference = largest / rms;
  if (!(difference <= HIDDEN_STATES_TOLERANCE) || before.length !== after.length) {
    throw failed(`the rewritten graph's hidden states differ from the original's by ${difference} of their size`);
  }
  return difference;
}

/** @returns the number of heads, as the sums tell it */
export function checkReceivedAttention(outputs: BatchOutputs, batch: ProbeBatch, heads: number | undefined): number {
  const received = outputs.receivedAttention!;
  const { texts, tokens } = batch;
  if (received.length !== texts * tokens) {
    throw failed(`received attention has ${received.length} numbers where ${texts} x ${tokens} tokens were given`);
  }
  if (!received.every(Number.isFinite)) throw failed('received attention is not finite');
  const mask = batch.feeds.attention_mask!.data as BigInt64Array;
  if (received.some((value, i) => mask[i] === 0n && value !== 0)) throw failed('padding receives attention');
  const perToken = Array.from(batch.lengths, (length, text) => {
    const row = received.subarray(text * tokens, (text + 1) * tokens);
    return row.reduce((sum, value) => sum + value, 0) / length;
  });
  const counted = heads ?? Math.round(perToken[0]!);
  const wrong = perToken.find((sum) => !(Math.abs(sum / counted - 1) <= ROW_SUM_TOLERANCE));
  if (wrong !== undefined || counted < 1) {
    throw failed(`received attention sums to ${wrong} a token, not to the ${counted} heads of attention`);
  }
  return counted;
}

/** @returns the smallest cosine between a text's embedding in the batch and alone */
export function batchCosine(batched: BatchOutputs, alone: readonly BatchOutputs[], pooling: Pooling): number {
  const together = poolBatch(batched, pooling);
  const cosines = alone.map((outputs, text) => {
    const own = poolBatch(outputs, pooling);
    return cosine(own, together.subarray(text * own.length, (text + 1) * own.length));
  });
  const smallest = Math.min(...cosines);
  if (!Number.isFinite(smallest)) throw failed('an embedding is null or not finite');
  return smallest;
}

function cosine(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return dot / Math.sqrt(aa * bb);
}

const failed = (problem: string): AnchorageError =>
  new AnchorageError('MODEL_INVALID', `the self-check failed: ${problem}`);
