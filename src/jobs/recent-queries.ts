/**
 * A sample of the queries that are asked: in memory, bounded, gone with the process. A deployment compares by it what two
 * models answer.
 * Always true: what is kept can be embedded. A search by a vector may come with a text that cannot.
 */
import { isBlank } from '../blank.js';

const SAMPLED_MAX = 200;
const COLLECTIONS_MAX = 100;
const CHARACTERS_MAX = 2_000;
/** Half of a pair: in Unicode mode a whole one is one character, and does not match. */
const LONE_SURROGATES = /\p{Surrogate}/gu;

interface Sample {
  readonly texts: string[];
  seen: number;
}

export class RecentQueries {
  private readonly samples = new Map<string, Sample>();
  private readonly random: () => number;

  /** @param random from 0 to below 1; tests give their own. */
  constructor(random: () => number = Math.random) {
    this.random = random;
  }

  /** Every query of a collection is as likely to be in its sample as any other (reservoir sampling). */
  add(collection: string, text: string): void {
    // The cut may go through a pair.
    const kept = text.slice(0, CHARACTERS_MAX).replace(LONE_SURROGATES, '');
    if (isBlank(kept)) return;
    let sample = this.samples.get(collection);
    if (!sample) {
      if (this.samples.size >= COLLECTIONS_MAX) return;
      sample = { texts: [], seen: 0 };
      this.samples.set(collection, sample);
    }
    sample.seen += 1;
    if (sample.texts.length < SAMPLED_MAX) {
      sample.texts.push(kept);
      return;
    }
    const place = Math.floor(this.random() * sample.seen);
    if (place < SAMPLED_MAX) sample.texts[place] = kept;
  }

  /** Distinct texts. */
  of(collection: string): string[] {
    return [...new Set(this.samples.get(collection)?.texts)];
  }
}
