/**
 * Cuts a long text into passages of bounded length at sentence ends (Unicode's, UAX #29, through Intl.Segmenter). Pure: the
 * tokens come from whoever has a tokenizer.
 *
 * Always true: passages come in order, cover every token, and none has more than maxTokens; consecutive ones share whole
 * sentences of up to overlapTokens together. A sentence that is too long by itself is cut before a word, or where a single
 * word is too long, before a token.
 */

export interface ChunkOptions {
  /** Without the special tokens that the model puts around each passage. */
  readonly maxTokens: number;
  /** Less than maxTokens. */
  readonly overlapTokens: number;
}

/** text.slice(start, stop); tokens are counted from `firstToken`. */
export interface Passage {
  readonly start: number;
  readonly stop: number;
  readonly firstToken: number;
  readonly tokens: number;
}

/**
 * @param tokenStarts where each token begins in the text, ascending.
 * @returns no passage for a text without tokens.
 */
export function cutIntoPassages(text: string, tokenStarts: readonly number[], options: ChunkOptions): Passage[] {
  const units = sentencesOf(text, tokenStarts).flatMap((sentence) => cutLong(text, tokenStarts, sentence, options));
  const passages: Passage[] = [];
  for (let first = 0; first < units.length; ) {
    const last = lastThatFits(units, first, options.maxTokens);
    passages.push(joined(text, units[first]!, units[last]!));
    if (last === units.length - 1) break;
    first = firstOfOverlap(units, first, last, options);
  }
  return passages;
}

/** Passages whose borders are known, with the tokens that begin in each. */
export function passagesAt(
  tokenStarts: readonly number[],
  spans: readonly { start: number; stop: number }[],
): Passage[] {
  return spans.map(({ start, stop }) => {
    const first = tokenStarts.findIndex((token) => token >= start);
    const firstToken = first < 0 ? tokenStarts.length : first;
    const after = tokenStarts.findIndex((token) => token >= stop);
    return { start, stop, firstToken, tokens: (after < 0 ? tokenStarts.length : after) - firstToken };
  });
}

function sentencesOf(text: string, tokenStarts: readonly number[]): Passage[] {
  const sentences: Passage[] = [];
  let token = 0;
  for (const { segment, index } of new Intl.Segmenter(undefined, { granularity: 'sentence' }).segment(text)) {
    const stop = index + segment.length;
    const firstToken = token;
    while (token < tokenStarts.length && tokenStarts[token]! < stop) token++;
    if (token > firstToken) sentences.push({ start: index, stop, firstToken, tokens: token - firstToken });
  }
  return sentences;
}

function cutLong(
  text: string,
  tokenStarts: readonly number[],
  sentence: Passage,
  { maxTokens }: ChunkOptions,
): Passage[] {
  const pieces: Passage[] = [];
  let { start, firstToken, tokens } = sentence;
  while (tokens > maxTokens) {
    const cut = wordStartBefore(text, tokenStarts, firstToken, firstToken + maxTokens);
    pieces.push({ start, stop: tokenStarts[cut]!, firstToken, tokens: cut - firstToken });
    tokens -= cut - firstToken;
    firstToken = cut;
    start = tokenStarts[cut]!;
  }
  return [...pieces, { start, stop: sentence.stop, firstToken, tokens }];
}

/** The last token up to `limit` that stands after white space; `limit` itself where none does. */
function wordStartBefore(text: string, tokenStarts: readonly number[], first: number, limit: number): number {
  for (let token = limit; token > first; token--) {
    if (/\s/u.test(text[tokenStarts[token]! - 1] ?? '')) return token;
  }
  return limit;
}

function lastThatFits(units: readonly Passage[], first: number, maxTokens: number): number {
  let last = first;
  let tokens = units[first]!.tokens;
  while (last + 1 < units.length && tokens + units[last + 1]!.tokens <= maxTokens) tokens += units[++last]!.tokens;
  return last;
}

/** Goes back over whole units, but always leaves room for the unit that did not fit: so each passage brings something new. */
function firstOfOverlap(units: readonly Passage[], first: number, last: number, options: ChunkOptions): number {
  const room = Math.min(options.overlapTokens, options.maxTokens - units[last + 1]!.tokens);
  let next = last + 1;
  let tokens = 0;
  while (next - 1 > first && tokens + units[next - 1]!.tokens <= room) tokens += units[--next]!.tokens;
  return next;
}

/** White space at the ends belongs to no passage. */
function joined(text: string, first: Passage, last: Passage): Passage {
  const whole = text.slice(first.start, last.stop);
  const start = first.start + (whole.length - whole.trimStart().length);
  const tokens = last.firstToken + last.tokens - first.firstToken;
  return { start, stop: start + whole.trim().length, firstToken: first.firstToken, tokens };
}
