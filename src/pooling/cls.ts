/** CLS pooling: the hidden state of the first token, which encoders trained this way (BGE, GTE) make a summary. */

/** Writes the first row of `states` [tokens, hidden] to `out` [hidden]. `states` holds at least one token. */
export function clsPool(states: Float32Array, out: Float32Array): void {
  out.set(states.subarray(0, out.length));
}
