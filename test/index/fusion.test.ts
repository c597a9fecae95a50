import { expect, test } from 'vitest';
import { type Ranked, reciprocalRankFusion, weightedFusion } from '../../src/index/fusion.js';

const list = (...labels: number[]): Ranked[] => labels.map((label, rank) => ({ label, score: 10 - rank }));

test('reciprocal rank fusion sums weight / (60 + rank)', () => {
  const fused = reciprocalRankFusion([list(1, 2), list(2, 3)], [1, 0.5]);
  expect(fused).toEqual([
    { label: 2, score: 1 / 62 + 0.5 / 61 },
    { label: 1, score: 1 / 61 },
    { label: 3, score: 0.5 / 62 },
  ]);
});

test('a document that both lists hold comes before one that a single list holds first', () => {
  expect(reciprocalRankFusion([list(1, 2), list(3, 2)], [1, 1])[0]!.label).toBe(2);
});

test('weighted fusion stretches each list to [0, 1]', () => {
  const dense = [
    { label: 1, score: 0.9 },
    { label: 2, score: 0.7 },
    { label: 3, score: 0.5 },
  ];
  const sparse = [
    { label: 3, score: 20 },
    { label: 2, score: 10 },
  ];
  const fused = new Map(weightedFusion([dense, sparse], [1, 2]).map(({ label, score }) => [label, score]));
  expect(fused.get(1)).toBeCloseTo(1);
  expect(fused.get(2)).toBeCloseTo(0.5);
  expect(fused.get(3)).toBeCloseTo(2);
});

test('lists whose scores are all equal count fully', () => {
  expect(weightedFusion([[{ label: 1, score: 3 }], []], [1, 1])).toEqual([{ label: 1, score: 1 }]);
});

test('equal scores are ordered by label, whatever the order of the lists', () => {
  const labels = (lists: Ranked[][]): number[] => reciprocalRankFusion(lists, [1, 1]).map(({ label }) => label);
  expect(labels([list(5), list(4)])).toEqual(labels([list(4), list(5)]));
});

test('nothing fused with nothing is nothing', () => {
  expect(reciprocalRankFusion([[], []], [1, 1])).toEqual([]);
});
