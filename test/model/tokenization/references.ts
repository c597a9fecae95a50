/**
 * Tokenizations by Hugging Face's Rust tokenizers (0.22), made once. `bert-reference`: the default model's tokenizer over
 * hand-picked texts and 400 random ones from many scripts. `library-reference`: two small tokenizers, byte-level BPE and
 * Unigram with Metaspace, both trained on arXiv abstracts, over a few texts. Spans count UTF-16 code units.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export interface Reference {
  readonly text: string;
  readonly ids: readonly number[];
  readonly spans: readonly (readonly [number, number])[];
}

export const bertReference = read<Reference[]>('bert-reference');
export const libraryReference = read<Record<'byte-level-bpe' | 'unigram', Reference[]>>('library-reference');
export const smallTokenizers = {
  'byte-level-bpe': read<object>('byte-level-bpe.tokenizer'),
  unigram: read<object>('unigram.tokenizer'),
};

function read<T>(name: string): T {
  return JSON.parse(gunzipSync(readFileSync(new URL(`${name}.json.gz`, import.meta.url))).toString('utf8')) as T;
}
