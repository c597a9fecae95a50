import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  anchorTokenAwarePool,
  anchorWeights,
  entropyRatio,
  reduceAttentions,
} from '../../src/pooling/anchor-token-aware.js';
import { meanPool } from '../../src/pooling/mean.js';

const received = fc.float32Array({ min: 0, max: 6144, minLength: 1, maxLength: 64, noNaN: true });

describe('anchor weights', () => {
  it('sum to 1 and keep the order of the received attention', () => {
    fc.assert(
      fc.property(received, fc.double({ min: 0, max: 16, noNaN: true }), (r, gamma) => {
        const weights = anchorWeights(r, gamma);
        expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
        for (let j = 1; j < r.length; j++) {
          if (r[j]! > r[j - 1]!) expect(weights[j]!).toBeGreaterThanOrEqual(weights[j - 1]!);
        }
      }),
    );
  });

  it('follow the equation', () => {
    expect([...anchorWeights(Float32Array.of(1, 4, 4, 16), 0.5)]).toEqual([1 / 9, 2 / 9, 2 / 9, 4 / 9]);
    expect([...anchorWeights(Float32Array.of(1, 3), 1)]).toEqual([0.25, 0.75]);
  });

  it('are equal where no token receives attention, and where gamma is 0', () => {
    expect([...anchorWeights(new Float32Array(4), 1)]).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect([...anchorWeights(Float32Array.of(0, 5, 1, 0), 0)]).toEqual([0.25, 0.25, 0.25, 0.25]);
  });

  it('stay finite where r^gamma would leave the range of a double', () => {
    const weights = anchorWeights(Float32Array.of(1e-38, 1e38), 16);
    expect([...weights]).toEqual([0, 1]);
  });

  it('give a single token everything', () => {
    expect([...anchorWeights(Float32Array.of(12), 0.5)]).toEqual([1]);
  });
});

describe('anchor-token-aware pooling', () => {
  it('with gamma 0 is mean pooling', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 9 }), fc.nat(), (tokens, hidden, seed) => {
        const states = Float32Array.from({ length: tokens * hidden }, (_, i) => Math.sin(seed + i * 1.7));
        const r = Float32Array.from({ length: tokens }, (_, i) => 1 + Math.cos(seed + i));
        const ata = new Float32Array(hidden);
        const mean = new Float32Array(hidden);
        anchorTokenAwarePool(states, anchorWeights(r, 0), ata);
        meanPool(states, mean);
        for (let d = 0; d < hidden; d++) expect(ata[d]!).toBeCloseTo(mean[d]!, 6);
      }),
    );
  });

  it('weighs the hidden states', () => {
    const out = new Float32Array(2);
    anchorTokenAwarePool(Float32Array.of(1, 2, 5, 6), Float64Array.of(0.25, 0.75), out);
    expect([...out]).toEqual([4, 5]);
  });
});

describe('the reduction of raw attention', () => {
  // Two heads over three positions; every row sums to 1.
  const attentions = Float32Array.of(
    ...[0.5, 0.25, 0.25, 0.125, 0.75, 0.125, 0.5, 0.5, 0],
    ...[1, 0, 0, 0.5, 0.5, 0, 0.25, 0.25, 0.5],
  );

  it('sums over heads and queries, to tokens x heads in all', () => {
    const r = reduceAttentions(attentions, { heads: 2, tokens: 3, start: 0, stop: 3 });
    expect([...r]).toEqual([2.875, 2.25, 0.875]);
    expect(r[0]! + r[1]! + r[2]!).toBe(6);
  });

  it('leaves out queries and keys that are padding, on either side', () => {
    expect([...reduceAttentions(attentions, { heads: 2, tokens: 3, start: 0, stop: 2 })]).toEqual([2.125, 1.5]);
    expect([...reduceAttentions(attentions, { heads: 2, tokens: 3, start: 1, stop: 3 })]).toEqual([2, 0.625]);
  });
});

describe('the entropy ratio', () => {
  it('is 1 for equal weights, 0 for one anchor, and 1 for a single token', () => {
    expect(entropyRatio(Float64Array.of(0.25, 0.25, 0.25, 0.25))).toBeCloseTo(1, 12);
    expect(entropyRatio(Float64Array.of(0, 1, 0))).toBe(0);
    expect(entropyRatio(Float64Array.of(1))).toBe(1);
  });
});
