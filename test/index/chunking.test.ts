import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cutIntoPassages } from '../../src/index/chunking.js';

/** A token a word or mark, as a simple tokenizer has it. */
const tokenStarts = (text: string): number[] =>
  [...text.matchAll(/[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu)].map(({ index }) => index);

const passagesOf = (text: string, maxTokens: number, overlapTokens = 0): string[] =>
  cutIntoPassages(text, tokenStarts(text), { maxTokens, overlapTokens }).map(({ start, stop }) =>
    text.slice(start, stop),
  );

test('sentences are kept whole where they fit', () => {
  const text = 'One two three. Four five. Six seven eight nine ten.  Eleven.';
  expect(passagesOf(text, 8)).toEqual(['One two three. Four five.', 'Six seven eight nine ten.  Eleven.']);
});

test('consecutive passages share whole sentences up to the overlap', () => {
  const text = 'A a a. B b b. C c c. D d d.';
  expect(passagesOf(text, 8, 4)).toEqual(['A a a. B b b.', 'B b b. C c c.', 'C c c. D d d.']);
});

test('a sentence that is too long is cut before a word', () => {
  expect(passagesOf('one two three four five six seven', 3)).toEqual(['one two three', 'four five six', 'seven']);
});

test('a word that is too long is cut before a token', () => {
  const text = 'ab-cd-ef-gh';
  expect(passagesOf(text, 2)).toEqual(['ab-', 'cd-', 'ef-', 'gh']);
});

test('other scripts have sentences too', () => {
  expect(passagesOf('今日は。明日は。昨日は。', 2)).toEqual(['今日は。', '明日は。', '昨日は。']);
});

test('a text without tokens has no passages', () => {
  expect(passagesOf('  \n ', 8)).toEqual([]);
});

test('passages cover every token in order, and none is too long', () => {
  const text = fc.array(fc.constantFrom('word', 'longer', '.', '!', ' ', '\n', 'é', '文'), { maxLength: 200 });
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 19 }), (parts, maxTokens, overlap) => {
      const whole = parts.join('');
      const starts = tokenStarts(whole);
      const overlapTokens = Math.min(overlap, maxTokens - 1);
      const passages = cutIntoPassages(whole, starts, { maxTokens, overlapTokens });
      let covered = 0;
      for (const { start, stop, firstToken, tokens } of passages) {
        expect(tokens).toBeLessThanOrEqual(maxTokens);
        expect(firstToken).toBeLessThanOrEqual(covered);
        expect(firstToken + tokens).toBeGreaterThan(covered);
        expect(starts.filter((at) => at >= start && at < stop)).toHaveLength(tokens);
        covered = firstToken + tokens;
      }
      expect(covered).toBe(starts.length);
    }),
    { seed: 1, numRuns: 300 },
  );
});
