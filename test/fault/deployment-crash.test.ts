/**
 * SIGKILL to a server at every step of a deployment: whatever serves then is one model with its own vectors, and the
 * deployment is gone on with until the new one serves.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ServerProcess, startServer } from '../../bench/server-process.js';
import { JobStore } from '../../src/jobs/job-store.js';
import { commitLive } from '../../src/jobs/live-model.js';
import { buildNextGeneration } from '../../src/jobs/reindex.js';
import { addVersion, judges, NAME } from '../jobs/two-models.js';
import { openRealApp } from '../server/real-app.js';

const [OLD, NEW] = [`${NAME}@1-int8`, `${NAME}@2-mean`];
const headers = { authorization: 'Bearer token', 'content-type': 'application/json' };
const QUERY = 'high water at the pier';
const TEXTS = Array.from({ length: 600 }, (_, at) => `Note ${at} on the tide at pier ${at % 7}.`);

let modelsDir: string;
let trainerDir: string;
let dataDir: string;
/** What the first three results score, by model. */
let scores: Record<string, number[]>;

const post = async (server: ServerProcess, path: string, body?: object) =>
  (
    await fetch(`${server.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body ?? {}) })
  ).json() as Promise<Record<string, unknown>>;

const start = (): Promise<ServerProcess> =>
  startServer(
    ...['--data-dir', dataDir, '--models-dir', modelsDir, '--model', OLD, '--workers', '1'],
    ...['--trainer-dir', trainerDir, '--job-priority', 'normal'],
  );

interface Answer {
  readonly modelVersion: string;
  readonly results: readonly { score: number }[];
}

async function answer(server: ServerProcess, collection: string): Promise<{ model: string; scores: number[] }> {
  const body = { collection, query: QUERY, mode: 'dense', k: 3, exact: true };
  const { modelVersion, results } = (await post(server, '/search', body)) as unknown as Answer;
  return { model: modelVersion, scores: results.map(({ score }) => Math.round(score * 1e4) / 1e4) };
}

async function fillUp(server: ServerProcess): Promise<void> {
  const documents = TEXTS.map((text, at) => ({ id: `t${at}`, text }));
  for (const collection of ['one', 'two']) await post(server, '/documents', { collection, documents });
}

beforeAll(async () => {
  modelsDir = mkdtempSync(join(tmpdir(), 'anchorage-models-'));
  await addVersion(modelsDir, '1-int8');
  await addVersion(modelsDir, '2-mean', 'mean');
  trainerDir = judges(2, 0.001);
  vi.stubEnv('ANCHORAGE_ADMIN_TOKEN', 'token');
  scores = {};
  for (const model of [OLD, NEW]) {
    const server = await startServer('--models-dir', modelsDir, '--model', model, '--workers', '1');
    await fillUp(server);
    scores[model] = (await answer(server, 'one')).scores;
    await server.close();
  }
  expect(scores[OLD]).not.toEqual(scores[NEW]);
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(modelsDir, { recursive: true });
});
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'anchorage-crash-'));
  mkdirSync(join(dataDir, 'set'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

async function until(server: ServerProcess, id: string, holds: (job: Record<string, unknown>) => boolean) {
  for (;;) {
    const job = (await (await fetch(`${server.url}/admin/jobs/${id}`, { headers })).json()) as Record<string, unknown>;
    if (holds(job)) return job;
    if (job.state === 'failed') throw new Error(JSON.stringify(job.error));
    await pause(5);
  }
}

async function kill(server: ServerProcess): Promise<void> {
  const ended = once(server.child, 'exit');
  server.child.kill('SIGKILL');
  await ended;
}

const STAGES = ['1 verify', '2 shadow', '4 build one', '4 build two', '5 compare', '6 flip', '7 settle'];

describe('a server that is killed', () => {
  it.each(STAGES)('at step %s serves one model whole, and goes on to the new one', async (stage) => {
    const first = await start();
    await fillUp(first);
    await answer(first, 'one');
    const { id } = await post(first, '/admin/jobs', {
      type: 'deploy',
      params: { model: NEW, sets: ['set'], textsPerSecond: 2000 },
    });
    const reached = (job: Record<string, unknown>): boolean => {
      const now = String(job.stage).replace('deploy: ', '');
      return job.state === 'succeeded' || now.slice(0, 1) > stage.slice(0, 1) || now.startsWith(stage);
    };
    await until(first, id as string, reached);
    await kill(first);

    const second = await start();
    try {
      for (const collection of ['one', 'two']) {
        const { model, scores: found } = await answer(second, collection);
        expect(found).toEqual(scores[model]);
      }
      await until(second, id as string, ({ state }) => state === 'succeeded');
      for (const collection of ['one', 'two']) {
        expect(await answer(second, collection)).toEqual({ model: NEW, scores: scores[NEW] });
      }
    } finally {
      await second.close();
    }
  });

  it('between the commit and the flips starts with the new model and all of its vectors', async () => {
    const first = await start();
    await fillUp(first);
    await first.close();
    const flags = ['--data-dir', dataDir, '--models-dir', modelsDir, '--model', OLD, '--workers', '1'];
    const half = await openRealApp(...flags);
    const { collections, models } = half.parts;
    const embedder = await models.hold(NAME, '2-mean');
    const never = new AbortController().signal;
    for (const name of ['one', 'two']) await buildNextGeneration(collections, { name, embedder }, { signal: never });
    await half.close();
    const store = new JobStore(dataDir);
    await commitLive(store, { configured: OLD, model: NEW, previous: OLD, job: 'none' });
    await store.close();

    const second = await start();
    try {
      for (const collection of ['one', 'two']) {
        expect(await answer(second, collection)).toEqual({ model: NEW, scores: scores[NEW] });
      }
    } finally {
      await second.close();
    }
  });
});
