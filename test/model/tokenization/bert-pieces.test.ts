import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BertPieces } from '../../../src/model/tokenization/bert-pieces.js';
import type { TokenizerJson } from '../../../src/model/tokenization/tokenizer-json.js';
import { bertReference } from './references.js';

const path = new URL('../../../models/all-minilm-l6-v2/1-int8/tokenizer.json', import.meta.url);
const json = JSON.parse(readFileSync(path, 'utf8')) as TokenizerJson;
const bert = new BertPieces(json);

function pieces(text: string): { ids: number[]; spans: [number, number][] } {
  const ids: number[] = [];
  const spans: [number, number][] = [];
  bert.pieces(text, (id, start, stop) => {
    ids.push(id);
    spans.push([start, stop]);
  });
  return { ids, spans };
}

const words = (text: string) => pieces(text).spans.map(([start, stop]) => text.slice(start, stop));

describe('BERT pieces', () => {
  it('have the reference tokenizer’s ids on every reference text', () => {
    const different = bertReference.filter(({ text, ids }) => bert.ids(text).join() !== ids.join());
    expect(different).toEqual([]);
  });

  it('have the reference tokenizer’s spans, and the same ids with spans as without', () => {
    for (const { text, ids, spans } of bertReference) expect({ text, ...pieces(text) }).toEqual({ text, ids, spans });
  });

  it('stand where the text has them, through lost accents, case and removed characters', () => {
    expect(words('Café ÅNGSTRÖM')).toEqual(['Café', 'ÅNG', 'STRÖM']);
    expect(words('中文 ok')).toEqual(['中', '文', 'ok']);
    expect(words('soft\u00adly now')).toEqual(['soft\u00adly', 'now']);
  });

  it('make one unknown token of a word that the vocabulary cannot cover, and of one over 100 characters', () => {
    const unknown = 100;
    expect(bert.ids('☃')).toEqual([unknown]);
    expect(bert.ids('a'.repeat(101))).toEqual([unknown]);
    expect(bert.ids('a'.repeat(100))).not.toContain(unknown);
    expect(words('a ☃☃ b')).toEqual(['a', '☃☃', 'b']);
  });

  it('keep an added token that the text spells out', () => {
    expect(bert.ids('a[SEP]b')).toEqual([1037, 102, 1038]);
    expect(words('a[SEP]b')).toEqual(['a', '[SEP]', 'b']);
  });

  it('say when a tokenizer.json is not of their kind', () => {
    expect(BertPieces.fits(json)).toBe(true);
    expect(BertPieces.fits({ ...json, normalizer: { type: 'NFC' } })).toBe(false);
    expect(BertPieces.fits({ ...json, added_tokens: [{ ...json.added_tokens[0]!, lstrip: true }] })).toBe(false);
  });
});
