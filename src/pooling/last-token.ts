/** Last-token pooling: the hidden state of the last token, the only one that has seen all others in a causal encoder. */

/** Writes the last row of `states` [tokens, hidden] to `out` [hidden]. `states` holds at least one token. */
export function lastTokenPool(states: Float32Array, out: Float32Array): void {
  out.set(states.subarray(states.length - out.length));
}
