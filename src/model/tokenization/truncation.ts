/**
 * Cutting a text to its first or last tokens without tokenizing all of it: a window of the text is tokenized, and twice
 * as much while it holds too few tokens. The result equals cutting the tokens of the whole text, because tokens near the
 * window's inner edge, which may fall into a word, are never used.
 */
export type TruncationDirection = 'left' | 'right';

/** Tokens at the inner edge that are not trusted; a word of BERT is at most 100 tokens before it becomes unknown. */
const EDGE_TOKENS = 128;
/** Generous for prose (4 to 5), so that the first window is nearly always enough. */
const CHARACTERS_PER_TOKEN = 8;

export interface Cut {
  /** Tokens to keep, at least 1. */
  readonly limit: number;
  /** The side that loses tokens. */
  readonly direction: TruncationDirection;
}

export interface CutTokens<T> {
  readonly tokens: T[];
  /** Whether the text has more than `limit` tokens. */
  readonly truncated: boolean;
}

/**
 * The first `limit` tokens of `text` (the last ones where the left side is cut). `tokenize` gets a part of the text and
 * where it begins.
 */
export function tokenizeCut<T>(text: string, cut: Cut, tokenize: (part: string, start: number) => T[]): CutTokens<T> {
  const enough = cut.limit + EDGE_TOKENS;
  for (let size = enough * CHARACTERS_PER_TOKEN; size < text.length; size *= 2) {
    const [start, stop] =
      cut.direction === 'right' ? [0, edgeBefore(text, size)] : [edgeAfter(text, size), text.length];
    const tokens = tokenize(text.slice(start, stop), start);
    if (tokens.length >= enough) return { tokens: kept(tokens, cut), truncated: true };
  }
  const tokens = tokenize(text, 0);
  return { tokens: kept(tokens, cut), truncated: tokens.length > cut.limit };
}

/** What stays of a list that is longer than the limit. */
export function kept<T>(tokens: T[], { limit, direction }: Cut): T[] {
  if (tokens.length <= limit) return tokens;
  return direction === 'right' ? tokens.slice(0, limit) : tokens.slice(tokens.length - limit);
}

/** The last white space at or before `size`, else `size`: a window [0, edge) that leaves words whole where it can. */
function edgeBefore(text: string, size: number): number {
  for (let at = size; at > size / 2; at--) if (isSpace(text.charCodeAt(at))) return at;
  return insidePair(text, size) ? size - 1 : size;
}

function edgeAfter(text: string, size: number): number {
  const first = text.length - size;
  for (let at = first; at < first + size / 2; at++) if (isSpace(text.charCodeAt(at))) return at;
  return insidePair(text, first) ? first + 1 : first;
}

function isSpace(unit: number): boolean {
  return unit === 0x20 || (unit >= 0x09 && unit <= 0x0d) || unit === 0x3000;
}

function insidePair(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xdc00;
}
