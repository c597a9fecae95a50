/**
 * BERT's text normalization, with the way back: clean-up, spaces around CJK ideographs, accents off, lower case, as the
 * reference tokenizer (Hugging Face's Rust `tokenizers`) does them. The JavaScript package does the same with two
 * differences that change token ids: it does not separate ideographs beyond U+FFFF, and it lower-cases a whole text at
 * once, so that a final sigma turns out differently.
 *
 * Every code point is normalized by itself, so the result is a plain concatenation and each of its code units knows
 * where it came from.
 */

/** The `normalizer` of a tokenizer.json whose type is BertNormalizer. */
export interface BertNormalizerConfig {
  readonly clean_text: boolean;
  readonly handle_chinese_chars: boolean;
  /** null: as `lowercase`. */
  readonly strip_accents: boolean | null;
  readonly lowercase: boolean;
}

/** A normalized text; code unit i of `text` came from code units [starts[i], stops[i]) of the original. */
export interface NormalizedText {
  readonly text: string;
  readonly starts: Int32Array;
  readonly stops: Int32Array;
}

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;
const REMOVED = /^[\0\ufffd\p{Cc}\p{Cf}\p{Co}]$/u;
const WHITE_SPACE = /^\s$/u;
const NONSPACING_MARKS = /\p{Mn}/gu;
const LAST_ASCII = 0x7f;

/** First and last code points of the blocks that BERT takes for Chinese: CJK ideographs, not kana and not Hangul. */
const IDEOGRAPHS = [
  [0x3400, 0x4dbf],
  [0x4e00, 0x9fff],
  [0xf900, 0xfaff],
  [0x20000, 0x2a6df],
  [0x2a700, 0x2b73f],
  [0x2b740, 0x2b81f],
  [0x2b920, 0x2ceaf],
  [0x2f800, 0x2fa1f],
] as const;

export class BertNormalizer {
  readonly #config: BertNormalizerConfig;
  readonly #stripAccents: boolean;
  /** What a code point becomes. At most as long as Unicode, in practice a few hundred entries. */
  readonly #known = new Map<number, string>();

  constructor(config: BertNormalizerConfig) {
    this.#config = config;
    this.#stripAccents = config.strip_accents ?? config.lowercase;
  }

  normalize(text: string): string {
    if (PRINTABLE_ASCII.test(text)) return this.#config.lowercase ? text.toLowerCase() : text;
    let result = '';
    for (let at = 0; at < text.length; ) {
      const codePoint = text.codePointAt(at)!;
      result += this.#codePoint(codePoint);
      at += codePoint > 0xffff ? 2 : 1;
    }
    return result;
  }

  normalizeWithOffsets(text: string): NormalizedText {
    const starts: number[] = [];
    const stops: number[] = [];
    let result = '';
    for (let at = 0; at < text.length; ) {
      const codePoint = text.codePointAt(at)!;
      const stop = at + (codePoint > 0xffff ? 2 : 1);
      const normalized = this.#codePoint(codePoint);
      for (let i = 0; i < normalized.length; i++) {
        starts.push(at);
        stops.push(stop);
      }
      result += normalized;
      at = stop;
    }
    return { text: result, starts: Int32Array.from(starts), stops: Int32Array.from(stops) };
  }

  #codePoint(codePoint: number): string {
    let normalized = this.#known.get(codePoint);
    if (normalized === undefined) {
      normalized = this.#normalizeCodePoint(codePoint);
      this.#known.set(codePoint, normalized);
    }
    return normalized;
  }

  #normalizeCodePoint(codePoint: number): string {
    let text = String.fromCodePoint(codePoint);
    if (this.#config.clean_text) text = cleaned(text);
    if (this.#config.handle_chinese_chars && isIdeograph(codePoint)) text = ` ${text} `;
    if (this.#stripAccents) text = text.normalize('NFD').replace(NONSPACING_MARKS, '');
    return this.#config.lowercase ? text.toLowerCase() : text;
  }
}

/** Control characters go, every kind of white space becomes a space; tab and line ends are white space here. */
function cleaned(character: string): string {
  if (character === '\t' || character === '\n' || character === '\r') return ' ';
  if (REMOVED.test(character)) return '';
  return WHITE_SPACE.test(character) ? ' ' : character;
}

function isIdeograph(codePoint: number): boolean {
  return codePoint > LAST_ASCII && IDEOGRAPHS.some(([first, last]) => codePoint >= first && codePoint <= last);
}
