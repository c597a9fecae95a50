/**
 * Recall that can be watched: a sample of live queries is answered again exactly, in idle time, and compared. With a
 * target, the breadth of the walk is tuned by the same samples: each is walked at every rung of a ladder, and the narrowest
 * rung whose mean recall reaches the target is taken.
 *
 *   recall@k = |what the walk found ∩ the true k nearest| / k        (a found label that ties with the k-th counts)
 */
import type { Ranked } from './fusion.js';

export const EF_SEARCH_LADDER = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024] as const;

/** Queries kept for the next idle time. */
const WAITING_MAX = 32;
/** The estimate is a mean over about this many samples, the newest counting most. */
const MEMORY_SAMPLES = 100;
/** Samples before a breadth is chosen by them: with 20 of k = 10, a mean of 0.99 is known to about 0.007. */
const SAMPLES_TO_TUNE = 20;

export interface Sample {
  readonly vector: Float32Array;
  readonly k: number;
  /** What the client was given, best first. */
  readonly found: readonly Ranked[];
}

/** A mean over a sliding past; undefined before the first value. */
class FadingMean {
  value: number | undefined;
  samples = 0;

  add(value: number): void {
    this.samples++;
    const weight = 1 / Math.min(this.samples, MEMORY_SAMPLES);
    this.value = (this.value ?? value) * (1 - weight) + value * weight;
  }
}

export class RecallWatch {
  private readonly target: number | undefined;
  private readonly waiting: Sample[] = [];
  private readonly live = new FadingMean();
  private readonly rungs = EF_SEARCH_LADDER.map((efSearch) => ({ efSearch, mean: new FadingMean() }));

  constructor(target: number | undefined) {
    this.target = target;
  }

  get estimate(): number | undefined {
    return this.live.value;
  }

  /** The narrowest breadth that reaches the target; undefined without a target, or before enough samples. */
  get tunedEfSearch(): number | undefined {
    if (this.target === undefined || this.live.samples < SAMPLES_TO_TUNE) return undefined;
    const enough = this.rungs.find(({ mean }) => mean.value !== undefined && mean.value >= this.target!);
    return (enough ?? this.rungs.at(-1)!).efSearch;
  }

  get hasSamples(): boolean {
    return this.waiting.length > 0;
  }

  /** Keeps the query for idle time; when there is no room, the oldest goes. */
  offer(sample: Sample): void {
    if (this.waiting.length === WAITING_MAX) this.waiting.shift();
    this.waiting.push(sample);
  }

  takeSample(): Sample | undefined {
    return this.waiting.pop();
  }

  /** @param walk what a walk of that breadth finds, k of it. */
  learn(sample: Sample, exact: readonly Ranked[], walk: (efSearch: number) => readonly Ranked[]): void {
    this.live.add(recallAtK(sample.found, exact));
    if (this.target === undefined) return;
    for (const { efSearch, mean } of this.rungs) mean.add(recallAtK(walk(efSearch), exact));
  }
}

/** @param exact the true nearest, best first; its length is k. */
export function recallAtK(found: readonly Ranked[], exact: readonly Ranked[]): number {
  if (exact.length === 0) return 1;
  const least = exact.at(-1)!.score - 1e-6;
  const right = found.slice(0, exact.length).filter(({ score }) => score >= least).length;
  return right / exact.length;
}
