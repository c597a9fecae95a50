import { Tokenizer } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import { LibraryPieces } from '../../../src/model/tokenization/library-pieces.js';
import type { TokenizerJson } from '../../../src/model/tokenization/tokenizer-json.js';
import { libraryReference, smallTokenizers } from './references.js';

describe.each(['byte-level-bpe', 'unigram'] as const)('%s pieces', (kind) => {
  const json = smallTokenizers[kind];
  const library = new Tokenizer(json, {});
  const tokenizer = new LibraryPieces(library, json as TokenizerJson);
  const spansOf = (text: string) => {
    const spans: [number, number][] = [];
    tokenizer.pieces(text, (_id, start, stop) => spans.push([start, stop]));
    return spans;
  };

  it('have the reference tokenizer’s ids', () => {
    for (const { text, ids } of libraryReference[kind])
      expect({ text, ids: tokenizer.ids(text) }).toEqual({ text, ids });
  });

  it('stand where the reference tokenizer has them, tokens of white space alone aside', () => {
    for (const { text, ids, spans } of libraryReference[kind]) {
      const visible = (list: readonly (readonly [number, number])[]) =>
        list
          .filter((_, i) => !/^[\u2581Ġ]*$/.test(library.id_to_token(ids[i]!)!))
          .map((span) => text.slice(...span).trim());
      expect({ text, words: visible(spansOf(text)) }).toEqual({ text, words: visible(spans) });
    }
  });
});
