/**
 * The one place where inputs are looked at before any work is done on them. What passes is embeddable as far as can be
 * told without a tokenizer: it is well-formed Unicode with something visible in it, or token ids of the vocabulary.
 */
import { isBlank } from '../blank.js';
import { AnchorageError } from '../errors.js';
import type { EmbedInput } from './embedding-types.js';
import { kept, type TruncationDirection } from './tokenization/truncation.js';

const SURROGATE_UNIT = /[\ud800-\udfff]/;
/** In Unicode mode a surrogate pair is one character, so that only a lone half matches. */
const LONE_SURROGATE = /\p{Surrogate}/u;
const PAIRS = /[\u{10000}-\u{10ffff}]/gu;

/** Refuses an empty list. */
export function checkNotEmpty(inputs: readonly EmbedInput[], field: string): void {
  if (inputs.length === 0) throw new AnchorageError('EMPTY_INPUT', `${field} holds nothing to embed`, { field });
}

/** Refuses text that has nothing to embed or is not well-formed; returns its length in characters (code points). */
export function checkText(text: string, field: string): number {
  if (isBlank(text)) throw nothingToEmbed(field, text === '' ? 'is empty' : 'holds only white space or controls');
  return checkWellFormed(text, field);
}

/** Refuses text with lone surrogates, which UTF-8 cannot carry; returns its length in characters (code points). */
export function checkWellFormed(text: string, field: string): number {
  if (!SURROGATE_UNIT.test(text)) return text.length;
  if (LONE_SURROGATE.test(text)) {
    throw new AnchorageError('VALIDATION', `${field} holds half of a surrogate pair, which is no character`, { field });
  }
  return text.length - (text.match(PAIRS)?.length ?? 0);
}

export function nothingToEmbed(field: string, problem: string): AnchorageError {
  return new AnchorageError('EMPTY_INPUT', `${field} ${problem}: there is nothing to embed`, { field });
}

/** Refuses an empty list of token ids and ids outside of the vocabulary. */
export function checkTokenIds(ids: readonly number[], field: string, vocabularySize: number): void {
  if (ids.length === 0) throw nothingToEmbed(field, 'is an empty list of token ids');
  const position = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabularySize);
  if (position < 0) return;
  const problem = Number.isInteger(ids[position])
    ? `is not in the vocabulary of ${vocabularySize} tokens`
    : 'is not an integer';
  throw new AnchorageError('INVALID_TOKENS', `${field}[${position}]: token id ${ids[position]} ${problem}`, { field });
}

/** How texts are cut to the model's length, as a request asks for it. */
export interface LengthPolicy {
  readonly maxTokens: number;
  readonly truncate: boolean;
  readonly direction: TruncationDirection;
}

/** The special tokens that the tokenizer puts around a text. */
export interface SpecialTokens {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

/**
 * Cuts token ids that came from a client to the model's length. Special tokens are kept where the ids have those that
 * the tokenizer would have put there.
 */
export function cutTokenIds(
  ids: readonly number[],
  policy: LengthPolicy,
  { prefix, suffix }: SpecialTokens,
): { ids: Int32Array; truncated: boolean } {
  if (ids.length <= policy.maxTokens) return { ids: Int32Array.from(ids), truncated: false };
  const before = prefix.every((id, i) => ids[i] === id) ? prefix.length : 0;
  const after = suffix.every((id, i) => ids[ids.length - suffix.length + i] === id) ? suffix.length : 0;
  const limit = Math.max(1, policy.maxTokens - before - after);
  const content = kept(ids.slice(before, ids.length - after), { limit, direction: policy.direction });
  return {
    ids: Int32Array.from([...ids.slice(0, before), ...content, ...ids.slice(ids.length - after)]),
    truncated: true,
  };
}

/** The refusal of a text with more tokens than the model takes, where the request did not want it cut. */
export function tooLong(field: string, tokens: number | undefined, maxTokens: number): AnchorageError {
  const count = tokens === undefined ? `more than ${maxTokens}` : `${tokens}`;
  const advice = 'shorten it, or ask for truncate=true';
  return new AnchorageError(
    'TEXT_TOO_LONG',
    `${field} has ${count} tokens where the model takes ${maxTokens}: ${advice}`,
    { field },
  );
}
