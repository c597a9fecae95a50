/**
 * Early exits through the whole server: a tiny BERT of three layers with random weights, exported with `--exit 1 --exit 2:32,16`
 * by `python -m trainer export`, and PyTorch's vectors after each of its layers (reference.json).
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRealApp, type RealApp } from '../../server/real-app.js';
import { cosine } from '../real-embedder.js';

const { texts, byLayers } = JSON.parse(readFileSync(new URL('reference.json', import.meta.url), 'utf8')) as {
  texts: string[];
  byLayers: Record<string, number[][]>;
};

const differences = (found: number[][], expected: number[][]): number =>
  Math.max(...found.flatMap((row, i) => row.map((value, j) => Math.abs(value - expected[i]![j]!))));

describe('a model with exits after layers 1 and 2', () => {
  let real: RealApp;
  beforeAll(async () => {
    const models = fileURLToPath(new URL('.', import.meta.url));
    real = await openRealApp('--models-dir', models, '--model', 'tiny-exits@1', '--workers', '1');
  });
  afterAll(() => real.close());
  const embed = async (body: object, url = '/embed') => {
    const { statusCode, json } = await real.app.inject({ method: 'POST', url, payload: { inputs: texts, ...body } });
    return { statusCode, answer: json() };
  };

  it.each([[1], [2], [undefined]])('gives the vectors that PyTorch has after layers: %s', async (layers) => {
    const { statusCode, answer } = await embed({ layers });
    expect(statusCode).toBe(200);
    expect(differences(answer, byLayers[layers ?? 3]!)).toBeLessThan(1e-5);
  });

  it('keeps the vectors of exits apart, in batches and in the cache', async () => {
    const both = await Promise.all([1, 2, undefined, null, 1, 2].map((layers) => embed({ layers })));
    for (const [i, layers] of [1, 2, 3, 3, 1, 2].entries()) {
      expect(differences(both[i]!.answer, byLayers[layers]!)).toBeLessThan(1e-5);
    }
  });

  it('cuts to the sizes that the exit has, and scales what is left', async () => {
    const { answer } = await embed({ layers: 2, dimensions: 16 });
    for (const [i, row] of (answer as number[][]).entries()) {
      expect(row).toHaveLength(16);
      const expected = Float32Array.from(byLayers[2]![i]!.slice(0, 16));
      expect(cosine(Float32Array.from(row), expected)).toBeCloseTo(1, 6);
      expect(Math.hypot(...row)).toBeCloseTo(1, 5);
    }
  });

  it.each([
    [{ layers: 3 }, 422, 'layers is 3; tiny-exits@1 has exits after 1, 2'],
    [{ layers: 2, dimensions: 8 }, 422, 'dimensions is 8; with layers 2, tiny-exits@1 has 32, 16'],
    [{ layers: 0 }, 422, 'layers'],
    [{ layers: '2' }, 422, 'layers'],
  ])('refuses %j in words that name the way out', async (body, status, message) => {
    const { statusCode, answer } = await embed(body);
    expect(statusCode).toBe(status);
    expect(answer.error).toContain(message);
  });

  it('refuses layers where vectors are not pooled', async () => {
    const { statusCode, answer } = await embed({ layers: 1 }, '/embed_all');
    expect(statusCode).toBe(422);
    expect(answer.error).toContain('layers');
  });

  it('shows its exits in /info', async () => {
    const { json } = await real.app.inject({ url: '/info' });
    expect(json().exits).toEqual([
      { layers: 1, dimensions: [32] },
      { layers: 2, dimensions: [32, 16] },
    ]);
  });
});

describe('a model without exits', () => {
  it('refuses layers', async () => {
    const real = await openRealApp('--workers', '1');
    const { statusCode, json } = await real.app.inject({
      method: 'POST',
      url: '/embed',
      payload: { inputs: 'a text', layers: 3 },
    });
    expect(statusCode).toBe(422);
    expect(json().error).toContain('declares no exits');
    await real.close();
  });
});
