import { describe, expect, it } from 'vitest';
import { reduceAttentions } from '../../src/pooling/anchor-token-aware.js';
import { type BatchOutputs, finishVector, poolBatch } from '../../src/pooling/pool.js';
import { floats, type GoldenDetail, golden, maxDifference } from './reference.js';

const TOLERANCE = golden.tolerances.float32.maxDifference;

/** One text as a batch, by either form of attention, with `padding` positions of noise on a side. */
function outputs(
  detail: GoldenDetail,
  form: 'reduced' | 'raw',
  paddingSide: 'left' | 'right',
  padding: number,
): BatchOutputs {
  const { heads, tokens: length } = detail;
  const tokens = length + padding;
  const start = paddingSide === 'left' ? padding : 0;
  const hiddenStates = new Float32Array(tokens * golden.dimensions).fill(7);
  hiddenStates.set(floats(detail.hiddenStates), start * golden.dimensions);
  const receivedAttention = new Float32Array(tokens).fill(9);
  receivedAttention.set(floats(detail.receivedAttention), start);
  const attentions = new Float32Array(heads * tokens * tokens).fill(0.5);
  const source = floats(detail.attentions);
  for (let row = 0; row < heads * length; row++) {
    const head = Math.floor(row / length);
    const target = (head * tokens + start + (row % length)) * tokens + start;
    attentions.set(source.subarray(row * length, (row + 1) * length), target);
  }
  const shape = { texts: 1, tokens, hidden: golden.dimensions, lengths: Int32Array.of(length), paddingSide };
  return form === 'raw' ? { ...shape, hiddenStates, attentions } : { ...shape, hiddenStates, receivedAttention };
}

describe.each(Object.entries(golden.poolings))('pooling %s', (name, { mode, gamma = 0 }) => {
  it.each([
    ['reduced', 'right', 0],
    ['reduced', 'left', 3],
    ['raw', 'right', 3],
    ['raw', 'left', 2],
  ] as const)('equals PyTorch from %s attention, padded on the %s by %i', (form, side, padding) => {
    for (const detail of golden.details) {
      const vector = new Float32Array(golden.dimensions);
      finishVector(poolBatch(outputs(detail, form, side, padding), { mode, gamma }), true, vector);
      const expected = floats(golden.texts[detail.text]!.embeddings[name]!);
      expect(maxDifference(vector, expected)).toBeLessThan(TOLERANCE);
    }
  });
});

describe('received attention', () => {
  it('equals PyTorch, and sums to tokens x heads', () => {
    for (const { heads, tokens, attentions, receivedAttention } of golden.details) {
      const r = reduceAttentions(floats(attentions), { heads, tokens, start: 0, stop: tokens });
      expect(maxDifference(r, floats(receivedAttention))).toBeLessThan(TOLERANCE * heads);
      expect(r.reduce((sum, value) => sum + value, 0)).toBeCloseTo(tokens * heads, 3);
    }
  });
});
