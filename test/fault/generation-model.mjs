/** Stand-ins for three models, known to the killed process and to who looks after it: a text gives a vector, by the model. */
export const MODELS = [16, 24, 16].map((dimensions, n) => ({
  fingerprint: String(n + 1).repeat(64),
  id: `test@${n + 1}`,
  dimensions,
}));

export function seededRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

/** Length 1. */
export function vectorOf(text, { id, dimensions }) {
  const seed = [...`${id} ${text}`].reduce((hash, c) => (Math.imul(hash, 31) + c.charCodeAt(0)) | 0, 7);
  const random = seededRandom(seed);
  const vector = Float32Array.from({ length: dimensions }, () => random() - 0.5);
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return vector.map((value) => value / length);
}
