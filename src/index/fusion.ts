/**
 * Joins ranked lists into one. Pure functions over labels and scores.
 *
 * Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009), with a weight a list:
 *
 *   score(d) = sum over lists i that hold d of  w_i / (60 + rank_i(d))        rank counted from 1
 *
 * It needs no scores on one scale. Weighted fusion does: each score is taken as a share of the list's best, and the shares are
 * averaged with the weights; a document that a list lacks gets 0 of it. 0 is what a cosine or BM25 is for nothing in common
 * (Bruch, Gai and Ingber, arXiv 2210.11934, call it the theoretical minimum), so the last of a short list is not taken for
 * nothing, as it is where the list's own least score becomes 0.
 */

export interface Ranked {
  readonly label: number;
  /** Higher is better. */
  readonly score: number;
}

export interface Fusion {
  readonly method: 'rrf' | 'weighted';
  /** Where one is not given: 1, but 2 for the dense list of weighted fusion. */
  readonly weights?: { readonly dense?: number; readonly sparse?: number };
}

/** What hybrid search fuses by unless a request says otherwise: docs/decisions/hybrid-search-fuses-scores.md. */
export const FUSION_DEFAULT: Fusion = { method: 'weighted' };

/** @returns best first, by the method and weights asked for. */
export function fuse(dense: readonly Ranked[], sparse: readonly Ranked[], { method, weights }: Fusion): Ranked[] {
  const weighted = method === 'weighted';
  const both = [weights?.dense ?? (weighted ? 2 : 1), weights?.sparse ?? 1];
  return weighted ? weightedFusion([dense, sparse], both) : reciprocalRankFusion([dense, sparse], both);
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

/**
 * @see reciprocalRankFusion for the parameters. Scores come out at most 1, and below 0 only by vectors that point away from
 * the query's. A document's score hangs on its own scores and the best of each list, so the end of a list, which an
 * approximate search may find otherwise another time, has no part in it.
 */
export function weightedFusion(lists: readonly (readonly Ranked[])[], weights: readonly number[]): Ranked[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0) || 1;
  return summed(lists, (list, index) => {
    const scores = list.map(({ score }) => score);
    const best = Math.max(...scores);
    return scores.map((score) => (weights[index]! / total) * Math.max(-1, best > 0 ? score / best : score));
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
