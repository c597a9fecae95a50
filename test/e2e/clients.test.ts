/** The built server on a real socket, asked by the clients that people have: nothing here is injected or mocked. */
import { readFileSync } from 'node:fs';
import { InferenceClient } from '@huggingface/inference';
import OpenAI, { AuthenticationError, BadRequestError } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ServerProcess, startServer } from '../../bench/server-process.js';

const TEXTS = ['A ship lies at anchor in the bay.', 'A boat is moored in the harbour.', 'Shares fell sharply today.'];
const MODEL = 'anchorage-small@6-int8';

let server: ServerProcess;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

const cosine = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);

async function embed(inputs: readonly string[]): Promise<number[][]> {
  const response = await fetch(`${server.url}/embed`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs }),
  });
  return (await response.json()) as number[][];
}

describe('the openai client', () => {
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'not asked for', maxRetries: 0 });

  it('reads base64, which it asks for by itself, to the vectors of /embed', async () => {
    const { data, model, usage } = await client().embeddings.create({ model: 'text-embedding-3-small', input: TEXTS });
    const own = await embed(TEXTS);
    expect(model).toBe(MODEL);
    expect(usage.prompt_tokens).toBeGreaterThan(TEXTS.length * 4);
    expect(data.map(({ index }) => index)).toEqual([0, 1, 2]);
    for (const [index, { embedding }] of data.entries()) {
      expect(embedding).toHaveLength(384);
      expect(cosine(embedding, own[index]!)).toBeGreaterThan(0.9999);
    }
  });

  it('gets the same numbers as floats', async () => {
    const shared = { model: 'any', input: TEXTS[0]! };
    const [packed] = (await client().embeddings.create(shared)).data;
    const [floats] = (await client().embeddings.create({ ...shared, encoding_format: 'float' })).data;
    expect(Math.hypot(...floats!.embedding)).toBeCloseTo(1, 5);
    const apart = floats!.embedding.map((value, i) => Math.abs(value - packed!.embedding[i]!));
    expect(Math.max(...apart)).toBeLessThan(1e-6);
  });

  it('cuts to the dimensions it asks for, and lists the model', async () => {
    const { data } = await client().embeddings.create({ model: 'any', input: TEXTS, dimensions: 96 });
    expect(data.map(({ embedding }) => embedding.length)).toEqual([96, 96, 96]);
    const ids: string[] = [];
    for await (const { id } of client().models.list()) ids.push(id);
    expect(ids).toEqual([MODEL]);
  });

  it('raises its own class of error for a bad request, with our words', async () => {
    const refused = client().embeddings.create({ model: 'any', input: [] });
    await expect(refused).rejects.toBeInstanceOf(BadRequestError);
    await expect(refused).rejects.toThrow(/"input" is empty/);
  });
});

describe('the Hugging Face client', () => {
  it('gets features from the endpoint, as it would from Text Embeddings Inference', async () => {
    const client = new InferenceClient();
    const features = (await client.featureExtraction({ endpointUrl: server.url, inputs: TEXTS })) as number[][];
    const own = await embed(TEXTS);
    expect(features).toHaveLength(TEXTS.length);
    for (const [index, vector] of features.entries()) expect(cosine(vector, own[index]!)).toBeGreaterThan(0.9999);
    expect(cosine(features[0]!, features[1]!)).toBeGreaterThan(cosine(features[0]!, features[2]!) + 0.2);
  });
});

describe('API keys', () => {
  it('let the openai client in with its key, out without, and leave the probes open', async () => {
    const guarded = await startServer('--api-keys', 'harbour-key,second-key');
    try {
      const ask = (apiKey: string) =>
        new OpenAI({ baseURL: `${guarded.url}/v1`, apiKey, maxRetries: 0 }).embeddings.create({
          model: 'any',
          input: 'a',
        });
      expect((await ask('second-key')).data).toHaveLength(1);
      await expect(ask('wrong-key')).rejects.toBeInstanceOf(AuthenticationError);
      expect((await fetch(`${guarded.url}/readyz`)).status).toBe(200);
      expect((await fetch(`${guarded.url}/info`)).status).toBe(401);
      expect((await fetch(`${guarded.url}/metrics`)).status).toBe(401);
      const token = readFileSync(`${guarded.dataDir}/admin-token`, 'utf8').trim();
      const admin = (bearer: string) =>
        fetch(`${guarded.url}/admin/models`, { headers: { authorization: `Bearer ${bearer}` } });
      expect((await admin('harbour-key')).status).toBe(401);
      expect((await admin(token)).status).toBe(200);
    } finally {
      await guarded.close();
    }
  });
});
