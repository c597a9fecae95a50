import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TextTokenizer } from '../../src/model/tokenizer.js';
import { smallTokenizers } from './tokenization/references.js';

const folder = fileURLToPath(new URL('../../models/all-minilm-l6-v2/1-int8', import.meta.url));
const tokenizer = await TextTokenizer.load(folder);
const CLS = 101;
const SEP = 102;

describe('the tokenizer of the default model', () => {
  it('puts its special tokens around a text', () => {
    expect(tokenizer.cut('hello world', 512, 'right')).toEqual({ ids: [CLS, 7592, 2088, SEP], truncated: false });
    expect(tokenizer.prefix).toEqual([CLS]);
    expect(tokenizer.suffix).toEqual([SEP]);
    expect(tokenizer.vocabularySize).toBe(30522);
  });

  it('keeps special tokens when it cuts, on either side', () => {
    const text = 'one two three four';
    const [, one, two, three, four] = tokenizer.cut(text, 512, 'right').ids;
    expect(tokenizer.cut(text, 4, 'right')).toEqual({ ids: [CLS, one, two, SEP], truncated: true });
    expect(tokenizer.cut(text, 4, 'left')).toEqual({ ids: [CLS, three, four, SEP], truncated: true });
    expect(tokenizer.cut(text, 6, 'left').truncated).toBe(false);
  });

  it('gives the same ids with spans as without', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), fc.integer({ min: 3, max: 40 }), (text, max) => {
        expect(tokenizer.cutWithSpans(text, max, 'left').ids).toEqual(tokenizer.cut(text, max, 'left').ids);
      }),
    );
  });

  it('shows tokens as the text has them', () => {
    expect(tokenizer.tokens('Crème brûlée', true)).toEqual([
      { id: CLS, text: '[CLS]', special: true, start: null, stop: null },
      { id: 13675, text: 'Cr', special: false, start: 0, stop: 2 },
      { id: 21382, text: 'ème', special: false, start: 2, stop: 5 },
      { id: 7987, text: 'br', special: false, start: 6, stop: 8 },
      { id: 9307, text: 'ûlé', special: false, start: 8, stop: 11 },
      { id: 2063, text: 'e', special: false, start: 11, stop: 12 },
      { id: SEP, text: '[SEP]', special: true, start: null, stop: null },
    ]);
    expect(tokenizer.tokens('Crème', false).map(({ text }) => text)).toEqual(['Cr', 'ème']);
  });

  it('decodes what it encoded, and may leave special tokens out', () => {
    const { ids } = tokenizer.cut('anchor tokens receive attention', 512, 'right');
    expect(tokenizer.decode(ids, true)).toBe('anchor tokens receive attention');
    expect(tokenizer.decode(ids, false)).toBe('[CLS] anchor tokens receive attention [SEP]');
    expect(tokenizer.decode([], true)).toBe('');
  });
});

describe('tokenizers of other kinds', () => {
  it('byte-level BPE round-trips any text', () => {
    const bpe = new TextTokenizer(smallTokenizers['byte-level-bpe'] as never, { clean_up_tokenization_spaces: false });
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 80 }), (text) => {
        expect(bpe.decode(bpe.cut(text, 1000, 'right').ids, true)).toBe(text.normalize('NFC'));
      }),
    );
  });

  it('Unigram has its own special tokens', () => {
    const unigram = new TextTokenizer(smallTokenizers.unigram as never, {});
    expect(unigram.prefix).toEqual([0]);
    expect(unigram.suffix).toEqual([1]);
    expect(unigram.cut('deep learning', 3, 'right').ids).toHaveLength(3);
  });
});
