import { expect, test } from 'vitest';
import { situatedVectors } from '../../src/model/situated-vectors.js';
import { loadEmbedder } from './real-embedder.js';

test('a passage in which no token begins has the vector of what is around it', async () => {
  const embedder = await loadEmbedder({});
  // "anchorage" is one token; the second passage is its end, as a tokenizer of smaller pieces may have cut it.
  const passages = [
    { start: 0, stop: 5, firstToken: 0, tokens: 1 },
    { start: 5, stop: 9, firstToken: 1, tokens: 1 },
  ];
  const [first, second] = await situatedVectors(embedder, 'anchorage', passages, { lane: 'bulk' });
  await embedder.close();
  expect(Math.hypot(...second!)).toBeCloseTo(1, 6);
  expect(second).toEqual(first);
});
