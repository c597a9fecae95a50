/**
 * BERT's WordPiece from text to token ids: added tokens are cut out, the rest is normalized, split at white space and
 * around each punctuation mark, and each word is covered from the left by the longest pieces of the vocabulary
 * (arXiv 1609.08144). A word that cannot be covered is one unknown token.
 *
 * Written out here, instead of taken from the JavaScript package, for token ids equal to the reference on all of
 * Unicode (see bert-normalizer.ts), for offsets, and for speed: words seen before come from a table.
 */
import { BertNormalizer, type BertNormalizerConfig } from './bert-normalizer.js';
import type { PieceSink, PieceTokenizer } from './pieces.js';
import type { TokenizerJson } from './tokenizer-json.js';

const PUNCTUATION = '\\p{P}!-/:-@\\[-`{-~';
const WORDS = new RegExp(`[^\\s${PUNCTUATION}]+|[${PUNCTUATION}]`, 'gu');

/** Words in the table of known words; it is emptied when full. About 8 MB. */
const KNOWN_WORDS_MAX = 65_536;
/** V8 copies slices below 13 code units; a longer one would keep its whole text alive in the table. */
const KNOWN_WORD_LENGTH_MAX = 12;

export class BertPieces implements PieceTokenizer {
  readonly #normalizer: BertNormalizer;
  readonly #addedTokens: AddedTokens;
  readonly #initial = new Map<string, number>();
  readonly #continuing = new Map<string, number>();
  readonly #unknownId: number;
  readonly #wordLengthMax: number;
  readonly #known = new Map<string, readonly Piece[]>();
  #pieceLengthMax = 1;

  /** Whether this class tokenizes as the file says; otherwise the package does, see library-pieces.ts. */
  static fits(json: TokenizerJson): boolean {
    return (
      json.normalizer?.type === 'BertNormalizer' &&
      json.pre_tokenizer?.type === 'BertPreTokenizer' &&
      json.model.type === 'WordPiece' &&
      !json.added_tokens.some((token) => token.normalized || token.single_word || token.lstrip || token.rstrip)
    );
  }

  constructor(json: TokenizerJson) {
    const model = json.model as unknown as WordPieceModel;
    this.#normalizer = new BertNormalizer(json.normalizer as unknown as BertNormalizerConfig);
    this.#addedTokens = new AddedTokens(json);
    this.#wordLengthMax = model.max_input_chars_per_word ?? 100;
    const prefix = model.continuing_subword_prefix ?? '##';
    for (const [piece, id] of Object.entries(model.vocab)) {
      if (piece.startsWith(prefix)) this.#continuing.set(piece.slice(prefix.length), id);
      // A piece with the prefix can also begin a word that is spelled so.
      this.#initial.set(piece, id);
      this.#pieceLengthMax = Math.max(this.#pieceLengthMax, piece.length);
    }
    this.#unknownId = model.vocab[model.unk_token]!;
  }

  ids(text: string): number[] {
    const ids: number[] = [];
    this.#addedTokens.split(text, {
      text: (section) => {
        const normalized = this.#normalizer.normalize(section);
        for (const word of normalized.match(WORDS) ?? []) for (const piece of this.#pieces(word)) ids.push(piece.id);
      },
      added: (id) => ids.push(id),
    });
    return ids;
  }

  pieces(text: string, sink: PieceSink): void {
    this.#addedTokens.split(text, {
      text: (section, start) => this.#section(section, start, sink),
      added: (id, start, stop) => sink(id, start, stop),
    });
  }

  #section(section: string, sectionStart: number, sink: PieceSink): void {
    const { text, starts, stops } = this.#normalizer.normalizeWithOffsets(section);
    for (const match of text.matchAll(WORDS)) {
      let at = match.index;
      for (const { id, length } of this.#pieces(match[0])) {
        sink(id, sectionStart + starts[at]!, sectionStart + stops[at + length - 1]!);
        at += length;
      }
    }
  }

  #pieces(word: string): readonly Piece[] {
    if (word.length > KNOWN_WORD_LENGTH_MAX) return this.#cover(word);
    let pieces = this.#known.get(word);
    if (!pieces) {
      pieces = this.#cover(word);
      if (this.#known.size === KNOWN_WORDS_MAX) this.#known.clear();
      this.#known.set(word, pieces);
    }
    return pieces;
  }

  /** The longest pieces from the left. Lengths are in code units of the normalized text. */
  #cover(word: string): readonly Piece[] {
    const unknown = [{ id: this.#unknownId, length: word.length }];
    if (word.length > this.#wordLengthMax && codePoints(word) > this.#wordLengthMax) return unknown;
    const pieces: Piece[] = [];
    for (let start = 0; start < word.length; ) {
      const vocabulary = start === 0 ? this.#initial : this.#continuing;
      let stop = Math.min(word.length, start + this.#pieceLengthMax);
      let id = vocabulary.get(word.slice(start, stop));
      while (id === undefined && --stop > start) id = vocabulary.get(word.slice(start, stop));
      if (id === undefined) return unknown;
      pieces.push({ id, length: stop - start });
      start = stop;
    }
    return pieces;
  }
}

interface Piece {
  readonly id: number;
  readonly length: number;
}

interface WordPieceModel {
  readonly vocab: Readonly<Record<string, number>>;
  readonly unk_token: string;
  readonly continuing_subword_prefix?: string;
  readonly max_input_chars_per_word?: number;
}

interface Sections {
  text(section: string, start: number): void;
  added(id: number, start: number, stop: number): void;
}

/** Tokens such as [SEP] that a text may spell out; they are matched as written, before normalization. */
class AddedTokens {
  readonly #pattern: RegExp | undefined;
  readonly #ids: ReadonlyMap<string, number>;

  constructor({ added_tokens: tokens }: TokenizerJson) {
    this.#ids = new Map(tokens.map(({ content, id }) => [content, id]));
    const longestFirst = [...this.#ids.keys()].filter((content) => content !== '').sort((a, b) => b.length - a.length);
    this.#pattern = longestFirst.length === 0 ? undefined : new RegExp(longestFirst.map(escaped).join('|'), 'gu');
  }

  split(text: string, sections: Sections): void {
    let at = 0;
    if (this.#pattern) {
      for (const match of text.matchAll(this.#pattern)) {
        if (match.index > at) sections.text(text.slice(at, match.index), at);
        at = match.index + match[0].length;
        sections.added(this.#ids.get(match[0])!, match.index, at);
      }
    }
    if (at < text.length) sections.text(text.slice(at), at);
  }
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
