import { describe, expect, it } from 'vitest';
import type { Comparison } from '../../src/jobs/evaluation.js';
import { decide, gateOf } from '../../src/jobs/gate.js';

const comparison = (set: string, value: number, pValue: number): Comparison => {
  const figure = (of: number) => ({ value: of, low: of - 1, high: of + 1 });
  return {
    set,
    metric: 'ndcg@10',
    items: 100,
    before: figure(70),
    after: figure(70 + value),
    difference: figure(value),
    pValue,
  };
};
const [GAIN, LOSS, NOISE, DIP] = [
  comparison('gain', 2, 0.01),
  comparison('loss', -2, 0.01),
  comparison('noise', 1, 0.3),
  comparison('dip', -1, 0.3),
];

describe('the gate', () => {
  it.each<[string, Parameters<typeof gateOf>[0], Comparison[], boolean]>([
    ['a significant gain', 'better', [GAIN], true],
    ['a gain here and a loss there', 'better', [GAIN, LOSS], false],
    ['a gain here and chance there', 'better', [GAIN, DIP], true],
    ['chance alone', 'better', [NOISE], false],
    ['nothing judged', 'better', [], false],
    ['a loss, and everything passes', 'always', [LOSS], true],
    ['a gain, and nothing passes', 'never', [GAIN], false],
    ['chance, where any gain will do', { rule: 'better', alpha: 0.05, gain: 'any' }, [NOISE], true],
    ['no gain, where none is asked for', { rule: 'better', alpha: 0.05, gain: 'none' }, [DIP], true],
    [
      'a loss by chance beyond what is borne',
      { rule: 'better', alpha: 0.05, gain: 'none', lossMax: 0.5 },
      [DIP],
      false,
    ],
    ['a gain that a stricter alpha does not see', { rule: 'better', alpha: 0.001, gain: 'significant' }, [GAIN], false],
  ])('with %s', (_what, gate, comparisons, passes) => {
    expect(decide(comparisons, gateOf(gate)).passes).toBe(passes);
  });

  it('names what it found', () => {
    const { reasons } = decide([GAIN, LOSS], gateOf('better'));
    expect(reasons).toEqual([
      'a loss on loss (ndcg@10 70 -> 68, -2 [-3, -1], p 0.01)',
      'a gain on gain (ndcg@10 70 -> 72, +2 [1, 3], p 0.01)',
    ]);
  });
});
