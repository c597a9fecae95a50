import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { mapQueries } from '../../src/jobs/map-queries.js';
import { fill, reindex } from '../../src/jobs/reindex.js';
import type { Embedder } from '../../src/model/embedder.js';
import { modelIdentity } from '../../src/model/manifest.js';
import { openRealApp, type RealApp } from '../server/real-app.js';
import { addVersion, NAME } from './two-models.js';

const PLACES = [
  'harbour',
  'lighthouse',
  'shipyard',
  'fish market',
  'ferry terminal',
  'customs house',
  'sailing school',
];
const TEXTS = Array.from(
  { length: 210 },
  (_, n) => `Report ${n} of the ${PLACES[n % PLACES.length]}: ${'calm rough foggy windy'.split(' ')[n % 4]} water.`,
);
const LONG = TEXTS.slice(0, 12).join(' ');
const never = new AbortController().signal;

let modelsDir: string;
let real: RealApp;
let mean: Embedder;

async function post(url: string, body: object) {
  const response = await real.app.inject({ method: 'POST', url, payload: body });
  return { status: response.statusCode, body: response.json() };
}

beforeAll(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'anchorage-models-'));
  await addVersion(modelsDir, '1-int8');
  await addVersion(modelsDir, '2-mean', 'mean');
  real = await openRealApp('--models-dir', modelsDir, '--model', `${NAME}@1-int8`, '--workers', '1');
  mean = await real.parts.models.hold(NAME, '2-mean');
});
afterAll(async () => {
  await real?.close();
  await rm(modelsDir, { recursive: true });
});

/** The vectors that the routes store for these texts, chunks and all, when this model is live. */
async function storedAs(collection: string) {
  const { body } = await post('/documents/query', { collection, limit: 1000, include: ['vector'] });
  const parents = body.documents.map(({ id, vector }: { id: string; vector?: number[] }) => [id, vector]);
  const chunks = await post('/documents/query', {
    collection,
    ids: Array.from({ length: 64 }, (_, n) => [`plain#${n}`, `situated#${n}`]).flat(),
    include: ['vector'],
  });
  const ofChunks = chunks.body.documents.map(({ id, vector }: { id: string; vector: number[] }) => [id, vector]);
  return new Map<string, number[] | undefined>([...parents, ...ofChunks]);
}

const documents = (texts: readonly string[]) => texts.map((text) => ({ id: text.slice(0, 12), text }));
const chunked = ['plain', 'situated'].map((id) => ({
  id,
  text: LONG,
  chunk: { maxTokens: 24, situated: id === 'situated' },
}));

test('a reindexed collection holds what the other model would have stored, while every answer is of one model', async () => {
  await post('/documents', { collection: 'docs', documents: [...documents(TEXTS), ...chunked] });
  const answers: { modelVersion: string; top: { id: string; score: number } }[] = [];
  let done = false;
  const asking = (async () => {
    for (let n = 0; !done; n++) {
      const { status, body } = await post('/search', {
        collection: 'docs',
        query: TEXTS[n % 100],
        mode: 'dense',
        k: 1,
      });
      expect(status, JSON.stringify(body)).toBe(200);
      answers.push({ modelVersion: body.modelVersion, top: body.results[0] });
    }
  })();
  const writing = (async () => {
    for (let n = 0; !done; n++) {
      const { status, body } = await post('/documents', {
        collection: 'docs',
        documents: [{ id: `late ${n % 5}`, text: `A late report, number ${n}.` }],
      });
      expect(status, JSON.stringify(body)).toBe(200);
    }
  })();
  const progress: number[] = [];
  const onProgress = ({ filled, of }: { filled: number; of: number }): void => void progress.push(filled / of);
  await reindex(real.parts, { name: 'docs', embedder: mean }, { signal: never, onProgress });
  await new Promise((resolve) => setTimeout(resolve, 300));
  done = true;
  await Promise.all([asking, writing]);

  expect(progress[0]).toBe(0);
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
  // The query is a stored text: a query of one model in vectors of the other would not come near 1.
  for (const { modelVersion, top } of answers) expect(top.score, modelVersion).toBeGreaterThan(0.999);
  const versions = answers.map(({ modelVersion }) => modelVersion);
  expect(new Set(versions)).toEqual(new Set([`${NAME}@1-int8`, `${NAME}@2-mean`]));
  expect(versions).toEqual([...versions].sort());

  const collection = real.parts.collections.get('docs');
  expect(collection.model).toEqual(modelIdentity(mean.manifest));
  const before = real.parts.models.live;
  real.parts.models.promote(mean);
  await post('/documents', { collection: 'fresh', documents: [...documents(TEXTS), ...chunked] });
  real.parts.models.promote(before);
  const [reindexed, fresh] = [await storedAs('docs'), await storedAs('fresh')];
  expect(fresh.size).toBeGreaterThan(TEXTS.length + 10);
  for (const [id, vector] of fresh) {
    const other = reindexed.get(id);
    expect(other === undefined, id).toBe(vector === undefined);
    if (vector)
      expect(
        vector.reduce((sum, value, d) => sum + value * other![d]!, 0),
        id,
      ).toBeGreaterThan(0.99999);
  }
});

test('documents without a text are named before anything is embedded', async () => {
  const vector = Array.from({ length: 384 }, (_, d) => (d === 0 ? 1 : 0));
  await post('/documents', { collection: 'bare', documents: [{ id: 'only-a-vector', vector }] });
  const asked = reindex(real.parts, { name: 'bare', embedder: mean }, { signal: never });
  await expect(asked).rejects.toThrow(/bare has documents .* no text \(1; one is only-a-vector\)/);
  expect(await real.parts.collections.get('bare').info()).toMatchObject({ generation: 1, building: undefined });
});

test('so are documents whose text has nothing visible in it', async () => {
  const vector = Float32Array.from({ length: 384 }, (_, d) => (d === 0 ? 1 : 0));
  await post('/documents', { collection: 'blank', documents: documents(TEXTS.slice(0, 3)) });
  // As an earlier release stored it: POST /documents refuses it.
  const { collections } = real.parts;
  await collections.get('blank').upsert([{ id: 'nothing-to-see', text: ' \u200b', vector }]);
  const asked = reindex(real.parts, { name: 'blank', embedder: mean }, { signal: never });
  await expect(asked).rejects.toThrow(/blank has documents .* no text \(1; one is nothing-to-see\)/);
  expect(await collections.get('blank').info()).toMatchObject({ generation: 1, building: undefined });
});

test('a cancelled reindex keeps its vectors and goes on later', async () => {
  await post('/documents', { collection: 'slow', documents: documents(TEXTS.slice(0, 200)) });
  const cancelled = new AbortController();
  const onProgress = ({ filled }: { filled: number }): void => {
    if (filled > 0) cancelled.abort(new Error('cancelled'));
  };
  const first = reindex(real.parts, { name: 'slow', embedder: mean }, { signal: cancelled.signal, onProgress });
  await expect(first).rejects.toThrow('cancelled');
  expect((await real.parts.collections.get('slow').info()).building).toMatchObject({ filled: 128, waiting: 72 });
  const seen: number[] = [];
  const note = ({ filled }: { filled: number }): void => void seen.push(filled);
  await reindex(real.parts, { name: 'slow', embedder: mean }, { signal: never, onProgress: note });
  expect(seen[0]).toBe(128);
  expect((await real.parts.collections.get('slow').info()).model.id).toBe(`${NAME}@2-mean`);
});

test('a generation that was given up takes no vectors', async () => {
  await post('/documents', { collection: 'gone', documents: documents(TEXTS.slice(0, 10)) });
  const { generations } = real.parts.collections;
  const next = await generations.begin('gone', modelIdentity(mean.manifest));
  const [row] = await next.waiting(1);
  await generations.abandon('gone');
  const vector = new Float32Array(384).fill(1);
  await expect(next.fill([{ label: row!.label, vector }])).rejects.toMatchObject({ code: 'CONFLICT' });
  await expect(fill(next, mean, { signal: never })).rejects.toThrow();
});

test.each([
  ['deleted', () => real.parts.collections.get('windows').delete({ ids: ['situated'] })],
  [
    'replaced',
    () => post('/documents', { collection: 'windows', documents: [{ ...chunked[1], text: `${LONG} New.` }] }),
  ],
  ['replaced whole', () => post('/documents', { collection: 'windows', documents: [{ id: 'situated', text: LONG }] })],
])('a situated document that is %s while it waits to be embedded ends nothing', async (_, change) => {
  await post('/documents', { collection: 'windows', documents: [...documents(TEXTS.slice(0, 5)), ...chunked] });
  const { collections } = real.parts;
  const next = await collections.generations.begin('windows', modelIdentity(mean.manifest));
  const cutText = next.cutText.bind(next);
  vi.spyOn(next, 'cutText').mockImplementationOnce(async (parent) => {
    await change();
    return cutText(parent);
  });
  await fill(next, mean, { signal: never });
  const { chunks } = await collections.get('windows').info();
  expect(await next.state()).toMatchObject({ waiting: 0 });
  expect(chunks).toBeGreaterThan(5);
  await collections.delete('windows');
});

test('queries of a model that did not make the vectors are mapped to them, and the answer says so', async () => {
  const { collections, models } = real.parts;
  await post('/documents', { collection: 'mapped', documents: documents(TEXTS) });
  const facts = await mapQueries(collections, { name: 'mapped', embedder: mean }, { signal: never });
  expect(facts).toMatchObject({ fittedFrom: 126, heldOut: { texts: 42 } });
  expect(facts.heldOut.cosine).toBeGreaterThan(0.9);

  // As after a start with the other model: the one that made the vectors is not loaded.
  const old = models.live;
  models.promote(mean);
  models.release(old);
  await expect.poll(() => models.of(old.manifest.fingerprint), { timeout: 8000 }).toBeUndefined();
  const question = { query: TEXTS[33], mode: 'dense', k: 3 };
  const { body } = await post('/search', { collection: 'mapped', ...question });
  expect(body).toMatchObject({
    modelVersion: `${NAME}@2-mean`,
    queryMap: { from: `${NAME}@2-mean`, to: `${NAME}@1-int8`, recallAt10: facts.heldOut.recallAt10 },
  });
  expect(body.results.map(({ text }: { text: string }) => text)).toContain(TEXTS[33]);
  const late = await post('/documents', {
    collection: 'mapped',
    documents: [{ id: 'late', text: 'The tide is out.' }],
  });
  expect(late).toMatchObject({ status: 200, body: { modelVersion: `${NAME}@2-mean` } });
  expect((await post('/search', { collection: 'gone', ...question })).body).toMatchObject({ code: 'MODEL_MISMATCH' });

  await reindex(real.parts, { name: 'mapped', embedder: mean }, { signal: never });
  const after = await post('/search', { collection: 'mapped', query: 'The tide is out.', mode: 'dense', k: 1 });
  expect(after.body).not.toHaveProperty('queryMap');
  expect(after.body.results[0]).toMatchObject({ id: 'late', score: expect.closeTo(1, 3) });
});

test('a collection whose model was activated away is searched by it again while it is reindexed', async () => {
  const { collections, models } = real.parts;
  await post('/documents', { collection: 'away', documents: documents(TEXTS) });
  expect(collections.get('away').model.id).toBe(`${NAME}@2-mean`);
  const next = await models.activate(NAME, '1-int8');
  const outcomes: number[] = [];
  let done = false;
  const asking = (async () => {
    while (!done) {
      outcomes.push((await post('/search', { collection: 'away', query: TEXTS[3], mode: 'dense', k: 1 })).status);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  // Longer than a model without work is kept.
  const slowly = { signal: never, textsPerSecond: 70 };
  await reindex(real.parts, { name: 'away', embedder: next }, slowly);
  done = true;
  await asking;
  expect(collections.get('away').model.id).toBe(`${NAME}@1-int8`);
  expect(outcomes.length).toBeGreaterThan(10);
  expect(new Set(outcomes)).toEqual(new Set([200]));
});
