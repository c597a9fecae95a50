/**
 * Text to token ids with the model's special tokens around them, cut to the model's length, and back. Runs in the
 * tokenizer's thread. The truncation and padding that a tokenizer.json may ask for are not read: the bound is the
 * manifest's, and padding is the batch's.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { AnchorageError } from '../errors.js';
import type { Token } from './embedding-types.js';
import { BertPieces } from './tokenization/bert-pieces.js';
import { LibraryPieces } from './tokenization/library-pieces.js';
import type { PieceTokenizer } from './tokenization/pieces.js';
import { type TokenizerJson, vocabularySize } from './tokenization/tokenizer-json.js';
import { type TruncationDirection, tokenizeCut } from './tokenization/truncation.js';

export interface CutText {
  /** Special tokens included. */
  readonly ids: readonly number[];
  readonly truncated: boolean;
}

export interface CutTextWithSpans extends CutText {
  /** In UTF-16 code units of the text; -1 for special tokens. One an id. */
  readonly starts: readonly number[];
  readonly stops: readonly number[];
}

export class TextTokenizer {
  /** One more than the highest token id. */
  readonly vocabularySize: number;
  /** The special tokens that stand before and after every text. */
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  readonly #pieces: PieceTokenizer;
  readonly #library: Tokenizer;

  /** Reads tokenizer.json and tokenizer_config.json of a model version folder. */
  static async load(folder: string): Promise<TextTokenizer> {
    const [json, config] = await Promise.all(
      ['tokenizer.json', 'tokenizer_config.json'].map((file) => readJson(join(folder, file))),
    );
    return new TextTokenizer(json as TokenizerJson, config as object);
  }

  constructor(json: TokenizerJson, config: object) {
    this.#library = new Tokenizer(json, config);
    this.#pieces = BertPieces.fits(json) ? new BertPieces(json) : new LibraryPieces(this.#library, json);
    this.vocabularySize = vocabularySize(json);
    [this.prefix, this.suffix] = specialTokensAround(this.#library);
  }

  /** Token ids of a text, special tokens included, at most `maxTokens` of them. */
  cut(text: string, maxTokens: number, direction: TruncationDirection): CutText {
    const limit = this.#contentTokensMax(maxTokens);
    const { tokens, truncated } = tokenizeCut(text, { limit, direction }, (part) => this.#pieces.ids(part));
    return { ids: [...this.prefix, ...tokens, ...this.suffix], truncated };
  }

  /** As cut, and where each token stands. */
  cutWithSpans(text: string, maxTokens: number, direction: TruncationDirection): CutTextWithSpans {
    const limit = this.#contentTokensMax(maxTokens);
    const { tokens, truncated } = tokenizeCut(text, { limit, direction }, (part, start) => this.#spans(part, start));
    const none = (special: readonly number[]) => special.map(() => -1);
    return {
      ids: [...this.prefix, ...tokens.map(({ id }) => id), ...this.suffix],
      starts: [...none(this.prefix), ...tokens.map(({ start }) => start), ...none(this.suffix)],
      stops: [...none(this.prefix), ...tokens.map(({ stop }) => stop), ...none(this.suffix)],
      truncated,
    };
  }

  /** The tokens of the whole text, however long. */
  tokens(text: string, addSpecialTokens: boolean): Token[] {
    const tokens: Token[] = this.#spans(text, 0).map(({ id, start, stop }) => {
      return { id, text: text.slice(start, stop), special: false, start, stop };
    });
    return addSpecialTokens ? [...this.#special(this.prefix), ...tokens, ...this.#special(this.suffix)] : tokens;
  }

  /** Text of token ids, as close to the original as the tokenizer allows. */
  decode(ids: readonly number[], skipSpecialTokens: boolean): string {
    return ids.length === 0 ? '' : this.#library.decode([...ids], { skip_special_tokens: skipSpecialTokens });
  }

  /** How the vocabulary spells a token id. */
  spelling(id: number): string {
    return this.#library.id_to_token(id) ?? '';
  }

  #special(ids: readonly number[]): Token[] {
    return ids.map((id) => ({ id, text: this.spelling(id), special: true, start: null, stop: null }));
  }

  #spans(text: string, offset: number): { id: number; start: number; stop: number }[] {
    const spans: { id: number; start: number; stop: number }[] = [];
    this.#pieces.pieces(text, (id, start, stop) => spans.push({ id, start: start + offset, stop: stop + offset }));
    return spans;
  }

  #contentTokensMax(maxTokens: number): number {
    return Math.max(1, maxTokens - this.prefix.length - this.suffix.length);
  }
}

/** What the tokenizer's template puts around a text, read off an example. */
function specialTokensAround(tokenizer: Tokenizer): [number[], number[]] {
  const content: number[] = tokenizer.encode('a', { add_special_tokens: false }).ids;
  const whole: number[] = tokenizer.encode('a', { add_special_tokens: true }).ids;
  for (let at = 0; at + content.length <= whole.length; at++) {
    if (content.every((id, i) => whole[at + i] === id)) return [whole.slice(0, at), whole.slice(at + content.length)];
  }
  throw new AnchorageError('MODEL_INVALID', 'tokenizer.json has a post_processor that does not keep the text together');
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new AnchorageError('MODEL_INVALID', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}
