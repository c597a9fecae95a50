/** Whether a difference of two means over the same items could be chance. */

export interface Difference {
  /** Mean of a - b. */
  readonly mean: number;
  /** 95% of means over resampled items lie between. An interval without 0 tells the two apart. */
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 10_000;

/**
 * The paired bootstrap (Efron; for retrieval: Sakai, SIGIR 2006): items are drawn with replacement, their differences
 * averaged, many times; the interval is between the 2.5th and the 97.5th percentile. Seeded: the same input gives the same.
 *
 * @param a one value an item. @param b of the same items, in the same order.
 */
export function pairedDifference(a: readonly number[], b: readonly number[]): Difference {
  const differences = a.map((value, item) => value - b[item]!);
  const mean = (sum: number): number => sum / differences.length;
  const random = xorshift(12345);
  const means = Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    for (let i = 0; i < differences.length; i++) sum += differences[Math.floor(random() * differences.length)]!;
    return mean(sum);
  }).sort((left, right) => left - right);
  return {
    mean: mean(differences.reduce((sum, one) => sum + one, 0)),
    low: means[Math.floor(0.025 * RESAMPLES)]!,
    high: means[Math.ceil(0.975 * RESAMPLES) - 1]!,
  };
}

/** Marsaglia's, of 32 bits: uniform in [0, 1). */
function xorshift(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
