/** What is asked of the tokenizer's thread beside embedding: tokens to be shown, ids to be spelled. */
import { AnchorageError } from '../errors.js';
import type { EmbedInput, Token } from './embedding-types.js';
import { checkNotEmpty, checkWellFormed } from './input.js';
import type { TokenizerReply, TokenizerRequest } from './worker-messages.js';

export type AskTokenizer = (request: TokenizerRequest) => Promise<TokenizerReply>;

/** Showing tokens costs an object a token, so it is not for books. */
const SHOWN_CHARACTERS_MAX = 1_000_000;
/** A few milliseconds of the tokenizer's time, so that texts to be embedded get their turn in between. */
const SLICE_CHARACTERS = 16_384;

/** The tokens of whole texts, never cut. */
export async function showTokens(
  ask: AskTokenizer,
  texts: readonly string[],
  addSpecialTokens: boolean,
): Promise<Token[][]> {
  checkNotEmpty(texts, 'inputs');
  for (const [i, text] of texts.entries()) {
    const field = `inputs[${i}]`;
    checkWellFormed(text, field);
    if (text.length > SHOWN_CHARACTERS_MAX) {
      const message = `${field} is longer than the ${SHOWN_CHARACTERS_MAX} characters whose tokens can be shown`;
      throw new AnchorageError('PAYLOAD_TOO_LARGE', message, { field });
    }
  }
  const tokens: Token[][] = [];
  for (let at = 0; at < texts.length; ) {
    const stop = sliceEnd(texts, at);
    tokens.push(...((await ask({ kind: 'tokens', texts: texts.slice(at, stop), addSpecialTokens })) as Token[][]));
    at = stop;
  }
  return tokens;
}

/** How the vocabulary spells the token ids among the inputs. */
export async function spellIds(ask: AskTokenizer, inputs: readonly EmbedInput[]): Promise<[number, string][]> {
  const ids = [...new Set(inputs.flatMap((input) => (typeof input === 'string' ? [] : input)))];
  if (ids.length === 0) return [];
  const spellings = (await ask({ kind: 'spell', ids })) as string[];
  return ids.map((id, i) => [id, spellings[i]!]);
}

/** Where a slice that begins at `start` ends; it holds one text at least. */
function sliceEnd(texts: readonly string[], start: number): number {
  let stop = start + 1;
  let characters = texts[start]!.length;
  while (stop < texts.length && characters + texts[stop]!.length <= SLICE_CHARACTERS) {
    characters += texts[stop++]!.length;
  }
  return stop;
}
