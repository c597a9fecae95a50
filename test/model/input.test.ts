import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AnchorageError } from '../../src/errors.js';
import { checkText, checkTokenIds, checkWellFormed, cutTokenIds } from '../../src/model/input.js';

function refusal(action: () => unknown): Pick<AnchorageError, 'code' | 'field' | 'message'> {
  try {
    action();
  } catch (error) {
    if (error instanceof AnchorageError) return error;
  }
  throw new Error('was not refused');
}

describe('a text', () => {
  it.each([
    ['', 'an empty text'],
    [' \t\n\u3000', 'white space'],
    ['\u0000\u0007\u200b\ufeff', 'controls and invisible format characters'],
  ])('%j is refused: %s', (text) => {
    const { code, field, message } = refusal(() => checkText(text, 'inputs[3]'));
    expect([code, field]).toEqual(['EMPTY_INPUT', 'inputs[3]']);
    expect(message).toContain('inputs[3]');
  });

  it.each(['\ud800', 'a\udc00b', 'ok \ud83d'])('%j is refused for half of a surrogate pair', (text) => {
    expect(refusal(() => checkWellFormed(text, 'inputs[0]')).code).toBe('VALIDATION');
  });

  it('of any well-formed Unicode passes, and its characters are counted', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 50 }), (text) => {
        expect(checkText(`x${text}`, 'inputs[0]')).toBe([...`x${text}`].length);
      }),
    );
  });
});

describe('token ids', () => {
  it.each([
    [[101, 30522], 'inputs[1][1]: token id 30522 is not in the vocabulary of 30522 tokens'],
    [[-1], 'inputs[1][0]: token id -1 is not in the vocabulary of 30522 tokens'],
    [[0, 1.5], 'inputs[1][1]: token id 1.5 is not an integer'],
    [[Number.NaN], 'inputs[1][0]: token id NaN is not an integer'],
  ])('%j are refused by position', (ids, message) => {
    expect(refusal(() => checkTokenIds(ids, 'inputs[1]', 30522))).toMatchObject({ code: 'INVALID_TOKENS', message });
  });

  it('are refused where there are none', () => {
    expect(refusal(() => checkTokenIds([], 'inputs[0]', 30522)).code).toBe('EMPTY_INPUT');
  });

  const special = { prefix: [101], suffix: [102] };
  it.each([
    ['right', [101, 1, 2, 102]],
    ['left', [101, 4, 5, 102]],
  ] as const)('are cut on the %s side with their special tokens kept', (direction, expected) => {
    const cut = cutTokenIds([101, 1, 2, 3, 4, 5, 102], { maxTokens: 4, truncate: true, direction }, special);
    expect([[...cut.ids], cut.truncated]).toEqual([expected, true]);
  });

  it('are cut plainly where they hold no special tokens, and left alone where they fit', () => {
    const policy = { maxTokens: 3, truncate: true, direction: 'right' } as const;
    expect([...cutTokenIds([1, 2, 3, 4], policy, special).ids]).toEqual([1, 2, 3]);
    expect(cutTokenIds([1, 2, 3], policy, special)).toEqual({ ids: Int32Array.of(1, 2, 3), truncated: false });
  });
});
