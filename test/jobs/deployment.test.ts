/**
 * Deployments over real models and collections: the committed version, and the same encoder pooled by its mean under another
 * version, which has other vectors. A stand-in judges in the trainer's place, so that the verdict is the test's.
 */
import { mkdirSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Job, Json } from '../../src/jobs/job.js';
import { modelIdentity, readManifest } from '../../src/model/manifest.js';
import { ADMIN_TOKEN, openRealApp, type RealApp } from '../server/real-app.js';
import { addVersion, judges, NAME } from './two-models.js';

const [OLD, NEW] = [`${NAME}@1-int8`, `${NAME}@2-mean`];
const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
let modelsDir: string;
let real: RealApp;

async function open(trainerDir: string): Promise<void> {
  real = await openRealApp(
    ...['--models-dir', modelsDir, '--model', OLD, '--workers', '1'],
    ...['--trainer-dir', trainerDir, '--job-priority', 'normal'],
  );
  mkdirSync(join(real.parts.config.dataDir, 'set'));
  await post('/documents', { documents: texts(0, 150) });
  await post('/documents', { collection: 'other', documents: texts(0, 3) });
}

const texts = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, at) => ({
    id: `t${from + at}`,
    text: `Note ${from + at} on the tide at pier ${at % 7}.`,
  }));

const post = async (url: string, payload?: object) => {
  const { statusCode: status, payload: body } = await real.app.inject({
    method: 'POST',
    url,
    headers,
    ...(payload ? { payload } : {}),
  });
  return { status, body: JSON.parse(body) as Record<string, unknown> };
};
const get = async (url: string) => (await real.app.inject({ method: 'GET', url, headers })).json();

async function over(id: string): Promise<Job> {
  for await (const _ of real.parts.jobs.events(id, 0, new AbortController().signal));
  return real.parts.jobs.get(id);
}

async function deploy(params: Json): Promise<Job> {
  const { status, body } = await post('/admin/jobs', {
    type: 'deploy',
    params: { model: NEW, sets: ['set'], ...params },
  });
  expect(status, JSON.stringify(body)).toBe(202);
  return over(body.id as string);
}

const modelOf = async (version: string) => modelIdentity(await readManifest(join(modelsDir, NAME, version)));

const search = async (collection = 'default') =>
  (await post('/search', { collection, query: 'high water at the pier', mode: 'dense', k: 3 })).body as {
    modelVersion: string;
    results: { id: string; score: number }[];
  };

beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'anchorage-models-'));
  await addVersion(modelsDir, '1-int8');
  await addVersion(modelsDir, '2-mean', 'mean');
  await addVersion(modelsDir, '3-broken', 'mean', true);
});
afterEach(async () => {
  await real.close();
  await rm(modelsDir, { recursive: true });
});

describe('a deployment', () => {
  it('takes a better model in with every collection, and goes back by one call', async () => {
    await open(judges(2, 0.001));
    const before = await search();
    expect(before.modelVersion).toBe(OLD);
    const job = await deploy({});
    expect(job, JSON.stringify(job.error)).toMatchObject({
      state: 'succeeded',
      artifacts: { live: NEW, previous: OLD },
    });
    expect(job.metrics).toMatchObject({
      deployment: {
        verdict: { passes: true, reasons: [expect.stringContaining('a gain on one (ndcg@10 80 -> 82')] },
        answers: [{ collection: 'default', queries: 1, recallOfGraph: 1 }],
      },
    });
    expect((await get('/info')).model_id).toContain(NAME);
    expect((await get('/admin/models')).live).toBe(NEW);
    const after = await search();
    expect(after.modelVersion).toBe(NEW);
    expect(after.results[0]!.score).not.toBeCloseTo(before.results[0]!.score, 4);
    expect((await search('other')).modelVersion).toBe(NEW);
    expect(await get('/collections/default')).toMatchObject({ model: { id: NEW } });

    await post('/documents', { documents: texts(500, 510) });
    const back = await post('/admin/models/rollback');
    expect(back.status).toBe(202);
    expect(await over(back.body.id as string)).toMatchObject({ state: 'succeeded' });
    const again = await search();
    expect(again.modelVersion).toBe(OLD);
    expect(again.results.map(({ id }) => id)).toEqual(before.results.map(({ id }) => id));
    const { body } = await post('/search', { query: 'Note 505 on the tide', mode: 'dense', k: 1 });
    expect(body).toMatchObject({ results: [{ id: 't505' }] });
    const series = await real.parts.metrics.registry.metrics();
    expect(series).toContain('anchorage_deployments_total{outcome="flipped"} 2');
  });

  it.each([
    ['a significant loss', 'better', -2, 0.001],
    ['a gain by chance', 'better', 1, 0.4],
    ['a gate that is closed', 'never', 5, 0.001],
  ])('is refused by its gate for %s, and nothing is changed', async (_what, gate, difference, pValue) => {
    await open(judges(difference, pValue));
    const job = await deploy({ gate });
    expect(job).toMatchObject({ state: 'succeeded', metrics: { deployment: { verdict: { passes: false } } } });
    expect(job.artifacts.live).toBeUndefined();
    expect((await search()).modelVersion).toBe(OLD);
    expect(await get('/collections/default')).toMatchObject({ model: { id: OLD } });
    expect((await post('/admin/models/rollback')).status).toBe(409);
    const report = JSON.parse(await readFile(join(real.parts.config.dataDir, String(job.artifacts.report)), 'utf8'));
    expect(report.comparisons).toHaveLength(1);
    // Its threads and its memory go, too.
    const { fingerprint } = await readManifest(join(modelsDir, NAME, '2-mean'));
    await expect.poll(() => real.parts.models.of(fingerprint), { timeout: 20_000 }).toBeUndefined();
  });

  it('lets a gain by chance pass where the gate says so', async () => {
    await open(judges(1, 0.4));
    expect(await deploy({ gate: { gain: 'any' } })).toMatchObject({ artifacts: { live: NEW } });
  });

  it('fails on a version that is damaged, and the old one serves on', async () => {
    await open(judges(2, 0.001));
    const job = await deploy({ model: `${NAME}@3-broken` });
    expect(job).toMatchObject({ state: 'failed', error: { message: expect.stringContaining('SHA-256') } });
    expect((await search()).modelVersion).toBe(OLD);
  });

  it('fails where documents have vectors and no text, and gives up what it had built', async () => {
    await open(judges(2, 0.001));
    const vector = Array.from({ length: 384 }, (_, at) => (at === 0 ? 1 : 0));
    await post('/documents', { collection: 'other', documents: [{ id: 'mute', vector }] });
    const job = await deploy({});
    expect(job).toMatchObject({
      state: 'failed',
      error: { reason: 'input', message: expect.stringMatching(/other has documents with a vector and no text/) },
    });
    for (const name of ['default', 'other']) {
      const { building, model } = await get(`/collections/${name}`);
      expect([building, model.id]).toEqual([undefined, OLD]);
    }
    expect((await search()).modelVersion).toBe(OLD);
  });

  it.each(['reindex', 'map'])('passes over collections that are deleted while it runs (%s)', async (index) => {
    await open(judges(2, 0.001));
    const { collections } = real.parts;
    const began = vi.spyOn(collections.generations, 'begin');
    const params = { model: NEW, gate: 'always', index, textsPerSecond: 50 };
    const { body } = await post('/admin/jobs', { type: 'deploy', params });
    const patiently = { timeout: 20_000 };
    if (index === 'reindex') {
      // A first group is embedded; the next waits for its pace.
      await expect.poll(async () => (await collections.get('default').info()).building?.filled, patiently).toBe(128);
      expect(began).toHaveBeenCalledTimes(1);
    } else {
      const stage = async () => (await get(`/admin/jobs/${body.id}`)).stage;
      await expect.poll(stage, patiently).toBe('deploy: 4 map default');
    }
    for (const name of ['default', 'other']) await collections.delete(name);
    await post('/documents', { collection: 'other', documents: texts(0, 4) });
    const job = await over(body.id as string);
    expect(job, JSON.stringify(job.error)).toMatchObject({ state: 'succeeded', artifacts: { live: NEW } });
    expect(collections.list().map(({ name, model }) => [name, model.id])).toEqual([
      ['other', index === 'reindex' ? NEW : OLD],
    ]);
  });

  it('lets go of the old model where a collection is deleted that came last', async () => {
    await open(judges(2, 0.001));
    const { collections, models } = real.parts;
    const { generations } = collections;
    const { takeOver, begin } = generations;
    const old = await modelOf('1-int8');
    vi.spyOn(generations, 'takeOver').mockImplementationOnce(async (nexts, steps) => {
      await takeOver.call(generations, nexts, steps);
      await collections.put('late', {}, old);
    });
    vi.spyOn(generations, 'begin').mockImplementation(async (name, model) => {
      if (name === 'late') await collections.delete(name);
      return begin.call(generations, name, model);
    });
    const job = await deploy({ gate: 'always' });
    expect(job, JSON.stringify(job.error)).toMatchObject({ state: 'succeeded', artifacts: { live: NEW } });
    expect(generations.begin).toHaveBeenLastCalledWith('late', await modelOf('2-mean'));
    await expect.poll(() => models.of(old.fingerprint), { timeout: 20_000 }).toBeUndefined();
  });

  it('is not stopped by queries that were asked and cannot be embedded', async () => {
    await open(judges(2, 0.001));
    const vector = Array.from({ length: 384 }, (_, at) => (at === 0 ? 1 : 0));
    for (const query of ['', ' \u200b', '\ud83c', `${'x'.repeat(1_999)}🏠`]) {
      expect((await post('/search', { query, vector, mode: 'dense' })).status).toBe(200);
    }
    const job = await deploy({ gate: 'always' });
    expect(job, JSON.stringify(job.error)).toMatchObject({
      state: 'succeeded',
      artifacts: { live: NEW },
      metrics: { deployment: { answers: [{ collection: 'default', queries: 1 }] } },
    });
  });

  it('goes on where the answers of the two models cannot be compared, and says why', async () => {
    await open(judges(2, 0.001));
    vi.spyOn(real.parts.recentQueries, 'of').mockReturnValue(['']);
    const job = await deploy({ gate: 'always' });
    expect(job, JSON.stringify(job.error)).toMatchObject({
      state: 'succeeded',
      artifacts: { live: NEW },
      metrics: {
        deployment: {
          answers: [
            { collection: 'default', queries: 1, notCompared: expect.stringContaining('nothing to embed') },
            { collection: 'other', queries: 1, notCompared: expect.stringContaining('nothing to embed') },
          ],
        },
      },
    });
  });

  it('is alone: a second one, and an activation beside it, are refused', async () => {
    await open(judges(2, 0.001));
    const [first, second] = await Promise.all([
      post('/admin/jobs', { type: 'deploy', params: { model: NEW, sets: ['set'] } }),
      post('/admin/jobs', { type: 'deploy', params: { model: NEW, gate: 'always' } }),
    ]);
    expect([first.status, second.status].sort()).toEqual([202, 409]);
    const made = first.status === 202 ? first : second;
    await over(made.body.id as string);
    expect((await post('/admin/jobs', { type: 'deploy', params: { model: NEW, gate: 'always' } })).body).toMatchObject({
      code: 'CONFLICT',
      error: `${NEW} is live already`,
    });
  });

  it('needs sets to judge by', async () => {
    await open(judges(2, 0.001));
    const { status, body } = await post('/admin/jobs', { type: 'deploy', params: { model: NEW } });
    expect([status, body.field]).toEqual([422, 'params.sets']);
  });

  it('loses no write, and answers every search from one model, while it runs', async () => {
    await open(judges(2, 0.001));
    const { body } = await post('/admin/jobs', { type: 'deploy', params: { model: NEW, gate: 'always' } });
    let running = true;
    const wrote: string[] = [];
    const answers = new Set<string>();
    const write = async (): Promise<void> => {
      for (let n = 1000; running; n += 1) {
        const [document] = texts(n, n + 1);
        const { status } = await post('/documents', { documents: [document] });
        expect(status).toBe(200);
        wrote.push(document!.id);
      }
    };
    const ask = async (): Promise<void> => {
      while (running) {
        const { modelVersion, results } = await search();
        expect(results.length).toBe(3);
        // The best score of one model's query among its own vectors; a mixture scores near nothing.
        expect(results[0]!.score).toBeGreaterThan(0.3);
        answers.add(modelVersion);
      }
    };
    const [job] = await Promise.all([
      over(body.id as string).finally(() => {
        running = false;
      }),
      write(),
      ask(),
    ]);
    expect(job, JSON.stringify(job.error)).toMatchObject({ state: 'succeeded' });
    expect([...answers].every((one) => one === OLD || one === NEW)).toBe(true);
    const found = await post('/documents/query', { ids: wrote, limit: 1000 });
    expect((found.body.documents as object[]).length).toBe(wrote.length);
    for (const id of wrote.slice(-3)) {
      const { body: answer } = await post('/search', {
        query: `Note ${id.slice(1)} on the tide`,
        mode: 'dense',
        k: 1,
        exact: true,
      });
      expect(answer.modelVersion).toBe(NEW);
    }
  });

  it('goes live at once where collections keep their vectors, with a map, and goes back', async () => {
    await open(judges(2, 0.001));
    const done = await deploy({ index: 'map' });
    expect(done).toMatchObject({ state: 'succeeded', metrics: { deployment: { verdict: { passes: true } } } });
    const { maps } = (done.metrics as { deployment: { maps: Json[] } }).deployment;
    expect(maps).toMatchObject([
      { collection: 'default', heldOut: { texts: 30, recallAt10: expect.any(Number) } },
      { collection: 'other', heldOut: { texts: 30 } },
    ]);
    expect((await get('/info')).model_sha).not.toBe(real.parts.collections.get('default').model.fingerprint);
    // The old model answers for its collections while a request may still hold it; then the map does.
    await expect.poll(search, { timeout: 10_000 }).toMatchObject({
      modelVersion: NEW,
      queryMap: { from: NEW, to: OLD, recallAt10: expect.any(Number) },
    });
    expect((await get('/collections/default')).generation).toBe(1);

    const back = (await post('/admin/models/rollback')).body;
    expect(await over(back.id as string)).toMatchObject({ state: 'succeeded' });
    const after = await search();
    expect(after).toMatchObject({ modelVersion: OLD });
    expect(after).not.toHaveProperty('queryMap');
  });
});
