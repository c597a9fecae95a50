import { expect, test } from 'vitest';
import type { Ranked } from '../../src/index/fusion.js';
import { RecallWatch, recallAtK } from '../../src/index/recall-watch.js';

const ranked = (...scores: number[]): Ranked[] => scores.map((score, label) => ({ label, score }));
const EXACT = ranked(0.9, 0.8, 0.7, 0.6);
const sampleOf = (found: Ranked[]) => ({ vector: new Float32Array(1), k: 4, found });

test('recall is the share of the true nearest that was found', () => {
  expect(recallAtK(EXACT, EXACT)).toBe(1);
  expect(recallAtK(ranked(0.9, 0.8, 0.5, 0.4), EXACT)).toBe(0.5);
  expect(recallAtK([], EXACT)).toBe(0);
});

test('a label that ties with the k-th counts as found', () => {
  expect(recallAtK([{ label: 99, score: 0.6 }], ranked(0.6))).toBe(1);
});

test('the estimate is the mean of what samples found', () => {
  const watch = new RecallWatch(undefined);
  expect(watch.estimate).toBeUndefined();
  watch.learn(sampleOf(EXACT), EXACT, () => []);
  watch.learn(sampleOf(EXACT.slice(0, 2)), EXACT, () => []);
  expect(watch.estimate).toBeCloseTo(0.75);
  expect(watch.tunedEfSearch).toBeUndefined();
});

test('the narrowest breadth that reaches the target is taken', () => {
  const watch = new RecallWatch(0.9);
  for (let n = 0; n < 30; n++) watch.learn(sampleOf(EXACT), EXACT, (ef) => (ef < 96 ? EXACT.slice(0, 3) : EXACT));
  expect(watch.tunedEfSearch).toBe(96);
});

test('where no breadth reaches the target, the widest is taken', () => {
  const watch = new RecallWatch(0.9);
  for (let n = 0; n < 30; n++) watch.learn(sampleOf(EXACT), EXACT, () => EXACT.slice(0, 3));
  expect(watch.tunedEfSearch).toBe(1024);
});

test('only the newest queries wait for idle time', () => {
  const watch = new RecallWatch(undefined);
  for (let n = 0; n < 100; n++) watch.offer({ vector: Float32Array.of(n), k: 1, found: [] });
  expect(watch.takeSample()!.vector[0]).toBe(99);
  let rest = 0;
  while (watch.takeSample()) rest++;
  expect(rest).toBe(31);
});
