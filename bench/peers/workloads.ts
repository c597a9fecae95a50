/**
 * The texts, the same for every peer, and new ones each round, so that no cache of embeddings helps where it should not.
 * Texts of a given length are cut out of one long stream of the corpus' words: a word's tokens do not depend on its
 * neighbours in the models compared here, so lengths are exact.
 */
import { TextTokenizer } from '../../src/model/tokenizer.js';
import { examplePapers } from '../corpus.js';

/** Any word of one token, to fill a text up to its length. */
const FILLER = 'the';
const QUERY_TOKENS = 12;
const PASSAGE_TOKENS = 128;
const REPEATS = 16;
/** Not a divisor of anything here. */
const STREAM_WORDS = 1237;

export interface Workload {
  readonly name: string;
  readonly texts: (round: number) => string[];
}

export interface Texts {
  readonly bulk: readonly Workload[];
  /** Endless, none twice within a run. */
  readonly queries: Iterator<string>;
  readonly passages: Iterator<string>;
  /** For quality: of every length. */
  readonly sample: readonly string[];
  readonly tokensOf: (text: string) => number;
}

/** @param scale 1 for a full run; the number of texts grows with it. @param folder of a model version, for its tokenizer. */
export async function makeTexts(scale: number, folder: string): Promise<Texts> {
  const tokenizer = await TextTokenizer.load(folder);
  const special = tokenizer.prefix.length + tokenizer.suffix.length;
  const papers = examplePapers();
  const words = papers.flatMap(({ abstract }) => abstract.split(/\s+/).filter(Boolean));
  const lengths = words.map((word) => tokenizer.tokens(word, false).length);
  // Each stream begins at another word, so that none gives the texts of another.
  let streams = 0;
  const cut = (tokens: number): Iterator<string> =>
    textsOfLength(words, lengths, tokens - special, STREAM_WORDS * streams++);
  const titles = papers.map(({ title }) => title);
  const mixture = papers.flatMap(({ title, abstract }) => [title, abstract]);
  const exact = (tokens: number, count: number): Workload => {
    const source = cut(tokens);
    return { name: `${tokens} tokens`, texts: () => take(source, Math.ceil(count * scale)) };
  };
  const distinct = Math.ceil(64 * scale);
  return {
    bulk: [
      exact(16, 1024),
      exact(PASSAGE_TOKENS, 160),
      exact(256, 80),
      exact(512, 40),
      { name: 'arXiv mixture', texts: (round) => numbered(mixture.slice(0, Math.ceil(256 * scale)), round) },
      { name: 'repeated titles', texts: (round) => repeated(numbered(titles.slice(0, distinct), round)) },
    ],
    queries: cut(QUERY_TOKENS),
    passages: cut(PASSAGE_TOKENS),
    sample: [...mixture.slice(200, 264), ...take(cut(256), 8), ...take(cut(512), 8), ...take(cut(16), 16)],
    tokensOf: (text) => tokenizer.cut(text, 512, 'right').ids.length,
  };
}

/**
 * The stream of words over and over from word `start` on. Each pass takes them in another order: passes that only began
 * elsewhere fell into the same texts again after a while, for a text's end decides where the next begins.
 */
function* textsOfLength(
  words: readonly string[],
  lengths: readonly number[],
  tokens: number,
  start: number,
): Generator<string, never> {
  const seen = new Set<string>();
  for (let at = start; ; ) {
    const text: string[] = [];
    let left = tokens;
    while (left > 0) {
      const pass = Math.floor(at / words.length);
      const word = ((at % words.length) * (pass + 1) + pass) % words.length;
      at++;
      const fits = lengths[word]! <= left;
      text.push(fits ? words[word]! : FILLER);
      left -= fits ? lengths[word]! : 1;
    }
    const whole = text.join(' ');
    if (seen.has(whole)) continue;
    seen.add(whole);
    yield whole;
  }
}

const numbered = (texts: readonly string[], round: number): string[] => texts.map((text) => `${round}. ${text}`);

/** Every text `REPEATS` times, the repeats far apart. */
const repeated = (texts: readonly string[]): string[] => Array.from({ length: REPEATS }, () => texts).flat();

export const take = (source: Iterator<string>, count: number): string[] =>
  Array.from({ length: count }, () => source.next().value as string);
