/**
 * Where tokens stand in a text when the tokenizer does not say. Text and tokens are folded to a common form (compatibility
 * decomposition, no marks, no white space, lower case), which every usual normalizer agrees with, and walked side by side.
 * What cannot be matched gets an empty span where the walk stands; the walk finds its way back at the next match.
 */

/** A token as text: undefined for an unknown token, `pending` for bytes that do not complete a character yet. */
export type Surface = string | undefined | { readonly pending: true };

export type Span = readonly [start: number, stop: number];

/** How far ahead the walk looks for a token after one that it could not place, in folded characters. */
const LOOKAHEAD = 128;

/** Spans in UTF-16 code units of `text`, one a token. Tokens of bytes share the span of the character they make up. */
export function alignTokens(text: string, surfaces: readonly Surface[]): Span[] {
  const folded = foldText(text);
  const spans: Span[] = [];
  let cursor = 0;
  let unplaced: number[] = [];
  for (const surface of surfaces) {
    if (surface === undefined) {
      unplaced.push(spans.push(folded.at(cursor, 0)) - 1);
      continue;
    }
    if (typeof surface !== 'string') {
      spans.push(folded.at(cursor, 1));
      continue;
    }
    const form = fold(surface);
    const found = form === '' ? cursor : find(folded.text, form, cursor, unplaced.length > 0);
    if (found < 0) {
      spans.push(folded.at(cursor, 0));
      continue;
    }
    if (form !== '') {
      for (const token of unplaced) spans[token] = folded.at(cursor, found - cursor);
      unplaced = [];
    }
    spans.push(folded.at(found, form.length));
    cursor = found + form.length;
  }
  for (const token of unplaced) spans[token] = folded.at(cursor, folded.text.length - cursor);
  return spans;
}

/** Where `form` begins at or soon after the cursor; -1 where it does not. An unknown token stands for something. */
function find(text: string, form: string, cursor: number, afterUnknown: boolean): number {
  if (!afterUnknown && text.startsWith(form, cursor)) return cursor;
  const ahead = text.slice(cursor, cursor + LOOKAHEAD + form.length);
  const offset = ahead.indexOf(form, afterUnknown ? 1 : 0);
  return offset < 0 ? -1 : cursor + offset;
}

interface FoldedText {
  readonly text: string;
  /** The span of the original that `length` folded characters from `from` on came from. */
  at(from: number, length: number): Span;
}

function foldText(text: string): FoldedText {
  const starts: number[] = [];
  const stops: number[] = [];
  let result = '';
  let at = 0;
  for (const character of text) {
    const form = fold(character);
    for (let i = 0; i < form.length; i++) {
      starts.push(at);
      stops.push(at + character.length);
    }
    result += form;
    at += character.length;
  }
  const spanAt = (from: number, length: number): Span => {
    const start = starts[from] ?? text.length;
    return length === 0 ? [start, start] : [start, stops[from + length - 1] ?? text.length];
  };
  return { text: result, at: spanAt };
}

function fold(text: string): string {
  return text
    .normalize('NFKD')
    .replace(/[\p{M}\s\u2581]/gu, '')
    .toLowerCase();
}
