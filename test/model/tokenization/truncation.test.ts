import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BertPieces } from '../../../src/model/tokenization/bert-pieces.js';
import type { TokenizerJson } from '../../../src/model/tokenization/tokenizer-json.js';
import { kept, tokenizeCut } from '../../../src/model/tokenization/truncation.js';

const path = new URL('../../../models/all-minilm-l6-v2/1-int8/tokenizer.json', import.meta.url);
const bert = new BertPieces(JSON.parse(readFileSync(path, 'utf8')) as TokenizerJson);

const word = fc.oneof(
  fc.constantFrom(
    'retrieval',
    'of',
    'Ångström',
    '中文字符',
    '𠀀𠀁',
    '[SEP]',
    '...',
    'x'.repeat(120),
    'e\u0301',
    'ΟΔΟΣ',
  ),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
);
const separator = fc.constantFrom(' ', '  ', '', '\n', ' ');
const longText = fc
  .array(fc.tuple(word, separator), { minLength: 1, maxLength: 40 })
  .chain((parts) => fc.integer({ min: 1, max: 60 }).map((times) => parts.flat().join('').repeat(times)));

describe('cutting to the first or last tokens', () => {
  it('equals cutting the tokens of the whole text', () => {
    const cuts = fc.record({ limit: fc.integer({ min: 1, max: 200 }), direction: fc.constantFrom('left', 'right') });
    fc.assert(
      fc.property(longText, cuts, (text, cut) => {
        const whole = bert.ids(text);
        const { tokens, truncated } = tokenizeCut(text, cut, (part) => bert.ids(part));
        expect(tokens).toEqual(kept(whole, cut));
        expect(truncated).toBe(whole.length > cut.limit);
      }),
      { numRuns: 300 },
    );
  });

  it.each(['left', 'right'] as const)('reads only a window of a long text (%s side cut)', (direction) => {
    const text = 'anchor tokens draw attention '.repeat(100_000);
    let read = 0;
    const { tokens, truncated } = tokenizeCut(text, { limit: 510, direction }, (part) => {
      read += part.length;
      return bert.ids(part);
    });
    expect(tokens).toHaveLength(510);
    expect(truncated).toBe(true);
    expect(read).toBeLessThan(10_000);
  });

  it('tells the tokenizer where its window begins', () => {
    const text = `${'word '.repeat(5_000)}end`;
    const { tokens } = tokenizeCut(text, { limit: 1, direction: 'left' }, (part, start) => {
      return [...part.matchAll(/\S+/g)].map((match) => start + match.index);
    });
    expect(tokens).toEqual([text.length - 3]);
  });
});
