/**
 * Joins ranked lists into one. Pure functions over labels and scores.
 *
 * Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009), with a weight a list:
 *
 *   score(d) = sum over lists i that hold d of  w_i / (60 + rank_i(d))        rank counted from 1
 *
 * It needs no scores on one scale. Weighted fusion does: each list's scores are stretched to [0, 1] (minimum to maximum of
 * the list) and summed with the weights; a document that a list lacks gets 0 of it.
 */

export interface Ranked {
  readonly label: number;
  /** Higher is better. */
  readonly score: number;
}

export interface Fusion {
  readonly method: 'rrf' | 'weighted';
  readonly weights?: { readonly dense?: number; readonly sparse?: number };
}

/** The paper's constant: it keeps the first ranks of one list from drowning the agreement of both. */
export const RRF_K = 60;

/**
 * @param lists best first, no label twice in one list.
 * @param weights one a list, not negative.
 * @returns best first; ties by label, so that equal input gives equal output.
 */
export function reciprocalRankFusion(lists: readonly (readonly Ranked[])[], weights: readonly number[]): Ranked[] {
  return summed(lists, (list, index) => list.map((_, rank) => weights[index]! / (RRF_K + rank + 1)));
}

/** @see reciprocalRankFusion for the parameters. A list whose scores are all equal gives each its full weight. */
export function weightedFusion(lists: readonly (readonly Ranked[])[], weights: readonly number[]): Ranked[] {
  return summed(lists, (list, index) => {
    const scores = list.map(({ score }) => score);
    const least = Math.min(...scores);
    const spread = Math.max(...scores) - least;
    return scores.map((score) => weights[index]! * (spread === 0 ? 1 : (score - least) / spread));
  });
}

function summed(
  lists: readonly (readonly Ranked[])[],
  contributions: (list: readonly Ranked[], index: number) => number[],
): Ranked[] {
  const totals = new Map<number, number>();
  for (const [index, list] of lists.entries()) {
    const parts = contributions(list, index);
    for (const [rank, { label }] of list.entries()) totals.set(label, (totals.get(label) ?? 0) + parts[rank]!);
  }
  return [...totals].map(([label, score]) => ({ label, score })).sort((a, b) => b.score - a.score || a.label - b.label);
}
