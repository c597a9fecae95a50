/**
 * Situated passages (late chunking, arXiv 2409.04701; SitEmb, arXiv 2508.01959): each passage is pooled from hidden states
 * that have seen the text around it. With H_j the hidden states of a window and w_j its anchor weights,
 *
 *   e(passage) = normalize( sum over tokens j of the passage of w_j H_j )
 *
 * which is anchor-token-aware pooling with the weights renormalized inside the passage. A text that is longer than the
 * model takes goes in windows of whole passages.
 */
import type { Embedder } from './embedder.js';
import type { Anchor, EmbedOptions } from './embedding-types.js';
import { tokensBeside } from './prompts.js';

/** text.slice(start, stop); its tokens begin with `firstToken` of the text. */
interface Passage {
  readonly start: number;
  readonly stop: number;
  readonly firstToken: number;
  readonly tokens: number;
}

/** @returns a vector of length 1 a passage. */
export async function situatedVectors(
  embedder: Embedder,
  text: string,
  passages: readonly Passage[],
  options: EmbedOptions,
): Promise<Float32Array[]> {
  const windows = windowsOf(passages, await tokensBeside(options.prompt ?? '', embedder));
  const texts = windows.map((window) => text.slice(window[0]!.start, window.at(-1)!.stop));
  if (texts.length === 0) return [];
  const [{ tokenVectors, dimensions }, { anchors }] = await Promise.all([
    embedder.embedTokens(texts, { ...options, normalize: false }),
    embedder.anchors(texts, options),
  ]);
  return windows.flatMap((window, index) =>
    window.map(({ start, stop }) => {
      const from = window[0]!.start;
      return pooledSpan(tokenVectors[index]!, anchors[index]!, dimensions, { start: start - from, stop: stop - from });
    }),
  );
}

/** Runs of consecutive passages that fit the model together. */
function windowsOf(passages: readonly Passage[], maxTokens: number): Passage[][] {
  const windows: Passage[][] = [];
  for (const passage of passages) {
    const window = windows.at(-1);
    const fits = window && passage.firstToken + passage.tokens - window[0]!.firstToken <= maxTokens;
    if (fits) window.push(passage);
    else windows.push([passage]);
  }
  return windows;
}

/**
 * A passage in which no token begins, as a tokenizer that cuts otherwise than that of its spans may leave one, is what is
 * around it.
 * @param hidden [tokens, dimensions]; special tokens have no place in the text and belong to no passage.
 */
function pooledSpan(
  hidden: Float32Array,
  anchors: readonly Anchor[],
  dimensions: number,
  span: { start: number; stop: number },
): Float32Array {
  const isWithin = ({ start }: Anchor): boolean => start !== null && start >= span.start && start < span.stop;
  const isWanted = anchors.some(isWithin) ? isWithin : ({ start }: Anchor): boolean => start !== null;
  const sum = new Float32Array(dimensions);
  for (const [token, anchor] of anchors.entries()) {
    if (!isWanted(anchor)) continue;
    const { weight } = anchor;
    for (let d = 0; d < dimensions; d++) sum[d]! += weight * hidden[token * dimensions + d]!;
  }
  let squares = 0;
  for (const value of sum) squares += value * value;
  return sum.map((value) => value / Math.sqrt(squares));
}
