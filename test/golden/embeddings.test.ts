import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Embedder } from '../../src/model/embedder.js';
import { TextTokenizer } from '../../src/model/tokenizer.js';
import { cosine, defaultFolder, loadEmbedder, modelsDir } from '../model/real-embedder.js';
import { floats, golden, maxDifference } from './reference.js';

const texts = golden.texts.map(({ text }) => text);
const { dimensions } = golden;
const row = (vectors: Float32Array, i: number) => vectors.subarray(i * dimensions, (i + 1) * dimensions);
const expected = (i: number, pooling: string) => floats(golden.texts[i]!.embeddings[pooling]!);

/** Loads a model version for the tests of a group. */
function loaded(folder: string): () => Embedder {
  let embedder: Embedder;
  beforeAll(async () => {
    embedder = await loadEmbedder({ folder, cacheBytesMax: 0, batchTokensMax: 512 });
  });
  afterAll(() => embedder.close());
  return () => embedder;
}

describe('tokenization', () => {
  it('equals the reference on all 200 texts', async () => {
    const tokenizer = await TextTokenizer.load(defaultFolder);
    for (const { text, tokenIds } of golden.texts) {
      expect({ text, ids: tokenizer.cut(text, golden.maxTokens, 'right').ids }).toEqual({ text, ids: tokenIds });
    }
  });
});

const float32Folder = `${modelsDir}/all-minilm-l6-v2/1-float32`;
// Only the int8 version is committed; `python -m trainer export` makes this one.
describe.skipIf(!existsSync(float32Folder))('the float32 version (skipped where models/ does not hold it)', () => {
  const embedder = loaded(float32Folder);

  it.each(Object.entries(golden.poolings))(
    'equals PyTorch within 1e-5, all texts in batches, by %s',
    async (name, pooling) => {
      const { vectors } = await embedder().embed(texts, { lane: 'bulk', pooling });
      const differences = texts.map((_, i) => maxDifference(row(vectors, i), expected(i, name)));
      expect(Math.max(...differences)).toBeLessThan(golden.tolerances.float32.maxDifference);
    },
  );
});

describe('the int8 version that is the default', () => {
  const embedder = loaded(defaultFolder);
  const { minCosine, meanCosine, batchMinCosine } = golden.tolerances.int8;

  it('stays close to PyTorch on every text, and closer in the mean', async () => {
    const { mode, gamma } = embedder().manifest.pooling as { mode: string; gamma?: number };
    const name = mode === 'ata' ? `ata-${gamma}` : mode;
    const { vectors } = await embedder().embed(texts, { lane: 'bulk' });
    const cosines = texts.map((_, i) => cosine(row(vectors, i), expected(i, name)));
    expect(Math.min(...cosines)).toBeGreaterThan(minCosine);
    expect(cosines.reduce((sum, value) => sum + value, 0) / cosines.length).toBeGreaterThan(meanCosine);
  });

  it('gives a text the same vector whatever company it keeps', async () => {
    const together = await embedder().embed(texts, { lane: 'bulk' });
    for (let i = 0; i < texts.length; i += 7) {
      const { vectors } = await embedder().embed([texts[i]!], { lane: 'query' });
      expect(cosine(vectors, row(together.vectors, i))).toBeGreaterThan(batchMinCosine);
    }
  });
});
