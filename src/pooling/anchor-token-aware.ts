/**
 * Anchor-token-aware pooling (ATA): a mean of the last layer's hidden states, weighted by the attention that each token
 * receives. The tokens that draw much of it are the anchors.
 *
 *     r_j = sum over heads h, sum over query positions i that are not padding, of A[h, i, j]     (0 where j is padding)
 *     w_j = r_j^gamma / sum_k r_k^gamma
 *     e   = sum_j w_j * H_j                          (scaled to unit length afterwards, see normalize.ts)
 *
 *     A[h, i, j]  attention of query position i to key position j in head h of the last layer; each row sums to 1
 *     H_j         last-layer hidden state of token j
 *     gamma       sharpness: 0 is mean pooling, 1 the plain share of received attention
 *
 * The method is of "Negative Matters: Multi-Granularity Hard-Negative Synthesis and Anchor-Token-Aware Pooling for
 * Enhanced Text Embeddings" (arXiv 2509.00842). The paper describes it in words (attention received from all tokens,
 * summed over the heads of the last layer, normalized over the sequence); the equations above are our reading of them,
 * and gamma is our addition, with gamma = 1 the paper's own case.
 *
 * r usually comes reduced from inside the graph. Where every row of A sums to 1, the r of a text of n tokens and H heads
 * sums to n * H.
 */

/**
 * The weights w [tokens], which sum to 1, from received attention r [tokens] of one text without its padding. A text
 * whose r is zero everywhere has no anchors: its weights are equal.
 */
export function anchorWeights(receivedAttention: Float32Array, gamma: number): Float64Array {
  const tokens = receivedAttention.length;
  const weights = new Float64Array(tokens);
  let largest = 0;
  for (const received of receivedAttention) if (received > largest) largest = received;
  if (largest === 0) return weights.fill(1 / tokens);
  // Dividing by the largest r cancels out of w, and keeps r^gamma inside the range of a double for any gamma.
  let sum = 0;
  for (let j = 0; j < tokens; j++) {
    weights[j] = (receivedAttention[j]! / largest) ** gamma;
    sum += weights[j]!;
  }
  for (let j = 0; j < tokens; j++) weights[j]! /= sum;
  return weights;
}

/** Writes sum_j w_j * H_j to `out` [hidden], from `states` [tokens, hidden] and w [tokens]; summed in double precision. */
export function anchorTokenAwarePool(states: Float32Array, weights: Float64Array, out: Float32Array): void {
  const hidden = out.length;
  const sums = new Float64Array(hidden);
  for (let j = 0; j < weights.length; j++) {
    const weight = weights[j]!;
    const row = j * hidden;
    for (let d = 0; d < hidden; d++) sums[d]! += weight * states[row + d]!;
  }
  out.set(sums);
}

/** Where one text's attention lies: its `heads` matrices of [tokens, tokens], of which [start, stop) are not padding. */
export interface AttentionSpan {
  readonly heads: number;
  readonly tokens: number;
  readonly start: number;
  readonly stop: number;
}

/** r [stop - start] of one text from its raw attention A [heads, tokens, tokens], for graphs that do not reduce it. */
export function reduceAttentions(attentions: Float32Array, span: AttentionSpan): Float32Array {
  const { heads, tokens, start, stop } = span;
  const sums = new Float64Array(stop - start);
  for (let h = 0; h < heads; h++) {
    for (let i = start; i < stop; i++) {
      const row = (h * tokens + i) * tokens;
      for (let j = start; j < stop; j++) sums[j - start]! += attentions[row + j]!;
    }
  }
  return Float32Array.from(sums);
}

/** Entropy of w over that of equal weights: 1 is mean pooling, near 0 one anchor takes all. 1 for a single token. */
export function entropyRatio(weights: Float64Array): number {
  if (weights.length === 1) return 1;
  let entropy = 0;
  for (const weight of weights) if (weight > 0) entropy -= weight * Math.log(weight);
  return entropy / Math.log(weights.length);
}
