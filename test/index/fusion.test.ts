import { expect, test } from 'vitest';
import { FUSION_DEFAULT, fuse, type Ranked, reciprocalRankFusion, weightedFusion } from '../../src/index/fusion.js';

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

test("weighted fusion averages shares of each list's best score", () => {
  const dense = [
    { label: 1, score: 0.9 },
    { label: 2, score: 0.45 },
    { label: 3, score: 0.3 },
  ];
  const sparse = [
    { label: 3, score: 20 },
    { label: 2, score: 10 },
  ];
  const fused = new Map(weightedFusion([dense, sparse], [1, 2]).map(({ label, score }) => [label, score]));
  expect(fused.get(1)).toBeCloseTo(1 / 3);
  expect(fused.get(2)).toBeCloseTo((0.5 + 2 * 0.5) / 3);
  expect(fused.get(3)).toBeCloseTo((1 / 3 + 2 * 1) / 3);
});

test('of two near documents the one that has the words as well comes first, though it is the last of its list', () => {
  const dense = [
    { label: 1, score: 0.61 },
    { label: 2, score: 0.6 },
  ];
  expect(weightedFusion([dense, [{ label: 2, score: 0.4 }]], [2, 1])[0]!.label).toBe(2);
});

test('a vector that points away takes from the score, by no more than its weight', () => {
  const dense = [
    { label: 1, score: 0.5 },
    { label: 2, score: -0.25 },
    { label: 3, score: -0.9 },
  ];
  expect(weightedFusion([dense, []], [1, 1]).map(({ score }) => score)).toEqual([0.5, -0.25, -0.5]);
});

test('where all vectors point away, the nearest still comes first', () => {
  const dense = [
    { label: 1, score: -0.1 },
    { label: 2, score: -0.2 },
  ];
  expect(weightedFusion([dense, []], [1, 0])).toEqual(dense);
});

test('a score does not depend on the end of a list', () => {
  const score = (lists: Ranked[][]): number => weightedFusion(lists, [2, 1]).find(({ label }) => label === 2)!.score;
  expect(score([list(1, 2, 3), list(2)])).toBe(score([list(1, 2), list(2)]));
});

test('the default is by scores, vectors counting twice as much as words', () => {
  const [dense, sparse] = [[{ label: 1, score: 0.5 }], [{ label: 2, score: 7 }]];
  expect(fuse(dense, sparse, FUSION_DEFAULT)).toEqual([
    { label: 1, score: 2 / 3 },
    { label: 2, score: 1 / 3 },
  ]);
  expect(fuse(dense, sparse, { method: 'rrf' }).map(({ score }) => score)).toEqual([1 / 61, 1 / 61]);
});

test('equal scores are ordered by label, whatever the order of the lists', () => {
  const labels = (lists: Ranked[][]): number[] => reciprocalRankFusion(lists, [1, 1]).map(({ label }) => label);
  expect(labels([list(5), list(4)])).toEqual(labels([list(4), list(5)]));
});

test('nothing fused with nothing is nothing', () => {
  expect(reciprocalRankFusion([[], []], [1, 1])).toEqual([]);
});
