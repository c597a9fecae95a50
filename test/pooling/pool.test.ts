import { describe, expect, it } from 'vitest';
import { type BatchOutputs, finishVector, poolBatch, textAnchorWeights, tokenStates } from '../../src/pooling/pool.js';

const PADDING = 1000;

/** Two texts, of 3 tokens and of 1, in rows of 3; whatever is padding would show. */
function batch(paddingSide: 'left' | 'right'): BatchOutputs {
  const short =
    paddingSide === 'right' ? [7, 8, PADDING, PADDING, PADDING, PADDING] : [...Array(4).fill(PADDING), 7, 8];
  const received = paddingSide === 'right' ? [6, PADDING, PADDING] : [PADDING, PADDING, 6];
  return {
    texts: 2,
    tokens: 3,
    hidden: 2,
    lengths: Int32Array.of(3, 1),
    paddingSide,
    hiddenStates: Float32Array.of(1, 2, 3, 4, 5, 9, ...short),
    receivedAttention: Float32Array.of(1, 1, 2, ...received),
    sentenceEmbedding: Float32Array.of(1, 0, 0, 1),
  };
}

describe.each(['left', 'right'] as const)('a batch padded on the %s', (side) => {
  it.each([
    ['ata', [3.5, 6, 7, 8]],
    ['mean', [3, 5, 7, 8]],
    ['cls', [1, 2, 7, 8]],
    ['last', [5, 9, 7, 8]],
    ['graph', [1, 0, 0, 1]],
  ] as const)('is pooled by %s without its padding', (mode, expected) => {
    expect([...poolBatch(batch(side), { mode, gamma: 1 })]).toEqual(expected);
  });

  it('lets the anchor weights of each text be seen', () => {
    const seen: number[][] = [];
    poolBatch(batch(side), { mode: 'ata', gamma: 1 }, (text, weights) => seen.push([text, ...weights]));
    expect(seen).toEqual([
      [0, 0.25, 0.25, 0.5],
      [1, 1],
    ]);
  });

  it('shows the token states of one text', () => {
    expect([...tokenStates(batch(side), 0)]).toEqual([1, 2, 3, 4, 5, 9]);
    expect([...tokenStates(batch(side), 1)]).toEqual([7, 8]);
  });

  it('gives the same anchors from raw attention as from the reduced one', () => {
    const { receivedAttention: _, ...rest } = batch(side);
    const pad = side === 'right' ? [1, 0, 0, 1, 0, 0, 1, 0, 0] : [0, 0, 1, 0, 0, 1, 0, 0, 1];
    const raw = { ...rest, attentions: Float32Array.of(0.25, 0.25, 0.5, 0.25, 0.25, 0.5, 0.25, 0.25, 0.5, ...pad) };
    for (const text of [0, 1]) {
      expect(textAnchorWeights(raw, text, 0.5)).toEqual(textAnchorWeights(batch(side), text, 0.5));
    }
  });
});

describe('the final form of a vector', () => {
  it('is cut first and normalized then', () => {
    const out = new Float32Array(2);
    finishVector(Float32Array.of(3, 4, 100), true, out);
    expect([...out]).toEqual([Math.fround(0.6), Math.fround(0.8)]);
  });

  it('is the plain cut where normalization is off, and zero where the vector is zero', () => {
    const out = new Float32Array(2);
    finishVector(Float32Array.of(3, 4, 100), false, out);
    expect([...out]).toEqual([3, 4]);
    finishVector(new Float32Array(3), true, out);
    expect([...out]).toEqual([0, 0]);
  });
});

it('a pooling that reads an output which was not fetched says which', () => {
  const { hiddenStates: _, ...rest } = batch('right');
  expect(() => poolBatch(rest, { mode: 'mean', gamma: 0 })).toThrow(/hiddenStates/);
});
