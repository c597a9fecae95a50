/** /admin/jobs over a real app; a stand-in does the trainer's part, see test/jobs/stand-in-trainer.ts. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { standInTrainer, TRAINS } from '../jobs/stand-in-trainer.js';
import { ADMIN_TOKEN, openRealApp, type RealApp } from './real-app.js';

let real: RealApp;
const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };

beforeAll(async () => {
  real = await openRealApp('--workers', '1', '--job-priority', 'normal', '--trainer-dir', standInTrainer(TRAINS(40)));
  const { dataDir } = real.parts.config;
  mkdirSync(join(dataDir, 'base'));
  writeFileSync(join(dataDir, 'pairs.jsonl'), '{}');
  await real.app.inject({
    method: 'POST',
    url: '/documents',
    payload: { collection: 'texts', documents: [{ id: 'a', text: 'A text.' }] },
  });
});
afterAll(() => real.close());

const post = (payload: object, more: Record<string, string> = {}) =>
  real.app.inject({ method: 'POST', url: '/admin/jobs', headers: { ...headers, ...more }, payload });
const get = (url: string, more: Record<string, string> = {}) =>
  real.app.inject({ method: 'GET', url, headers: { ...headers, ...more } });
const finetune = { type: 'finetune', params: { dataset: 'pairs.jsonl', base: 'base' } };

/** A stream of server-sent events, ended by the server when the job is over. */
const eventsOf = async (id: string, more: Record<string, string> = {}) => {
  const { payload } = await get(`/admin/jobs/${id}/events`, more);
  return payload
    .split('\n\n')
    .filter((block) => block.startsWith('id: '))
    .map((block) => {
      const [id, event, data] = block.split('\n').map((line) => line.slice(line.indexOf(': ') + 2));
      return { id: Number(id), event: event!, data: JSON.parse(data!) as Record<string, unknown> };
    });
};

describe('POST /admin/jobs', () => {
  it('needs the admin token', async () => {
    const { statusCode } = await real.app.inject({ method: 'POST', url: '/admin/jobs', payload: finetune });
    expect(statusCode).toBe(401);
  });

  it('takes a job, tells where it is, and shows it to its end', async () => {
    const made = await post(finetune, { 'idempotency-key': 'first' });
    expect(made.statusCode).toBe(202);
    const job = made.json();
    expect(made.headers.location).toBe(`/admin/jobs/${job.id}`);
    expect(job).toMatchObject({ state: 'queued', params: { steps: 100, curriculum: 'coarse-to-fine' } });
    const events = await eventsOf(job.id);
    expect(events.at(-1)).toMatchObject({ event: 'state', data: { state: 'succeeded' } });
    expect(events.map(({ id }) => id)).toEqual(events.map((_, at) => at + 1));
    const rest = await eventsOf(job.id, { 'last-event-id': String(events[3]!.id) });
    expect(rest).toEqual(events.slice(4));
    const shown = (await get(`/admin/jobs/${job.id}`)).json();
    expect(shown).toMatchObject({ state: 'succeeded', progress: 1, error: null });
    expect(shown.curve.length).toBeGreaterThanOrEqual(2);
    expect((await get('/admin/jobs?state=succeeded')).json().jobs.map(({ id }: { id: string }) => id)).toContain(
      job.id,
    );
    expect((await get('/admin/jobs?state=failed')).json().jobs).toEqual([]);
    const log = (await get(`/admin/jobs/${job.id}/log`)).payload;
    expect(log).toContain('ended: exit, code 0');
    expect((await get(`/admin/jobs/${job.id}/log?tail=50`)).payload).toBe(log.slice(-50));
    expect((await post(finetune, { 'idempotency-key': 'first' })).json().id).toBe(job.id);
    expect(
      (await post({ ...finetune, type: 'evaluate', params: { sets: ['base'] } }, { 'idempotency-key': 'first' }))
        .statusCode,
    ).toBe(409);
  });

  it.each<[string, object, string, RegExp]>([
    ['an unknown type', { type: 'conquer' }, 'type', /must be one of "synthesize", "finetune"/],
    [
      'an unknown field',
      { type: 'finetune', params: { dataset: 'pairs.jsonl', epochs: 3 } },
      'params.epochs',
      /unknown field "params\.epochs"/,
    ],
    [
      'an LLM that the operator did not list',
      {
        type: 'synthesize',
        params: { collection: 'texts', provider: 'openai', llm: { baseUrl: 'http://169.254.169.254/', model: 'm' } },
      },
      'params.llm.baseUrl',
      /not below a base URL of --job-llm-urls, and none is listed/,
    ],
    [
      'a field out of bounds',
      { type: 'finetune', params: { dataset: 'pairs.jsonl', steps: 0 } },
      'params.steps',
      /must be >= 1/,
    ],
    [
      'a field of another type',
      { type: 'synthesize', params: { collection: 'texts', records: 'many' } },
      'params.records',
      /must be/,
    ],
    ['no source of texts', { type: 'synthesize', params: {} }, 'params.collection', /a collection or a corpus/],
    [
      'two sources of texts',
      { type: 'synthesize', params: { collection: 'texts', corpus: 'base' } },
      'params.collection',
      /one of the two/,
    ],
    [
      'a corpus outside',
      { type: 'synthesize', params: { corpus: '/etc' } },
      'params.corpus',
      /leads out of the data directory/,
    ],
    ['a data set outside', { type: 'finetune', params: { dataset: '../pairs.jsonl' } }, 'params.dataset', /leads out/],
    [
      'a data set that is not there',
      { type: 'finetune', params: { dataset: 'none.jsonl' } },
      'params.dataset',
      /there is no none\.jsonl/,
    ],
    ['no data', { type: 'finetune', params: {} }, 'params.dataset', /a dataset is expected/],
    ['a base outside', { type: 'finetune', params: { dataset: 'pairs.jsonl', base: '/' } }, 'params.base', /leads out/],
    [
      'a recipe outside',
      { type: 'finetune', params: { dataset: 'pairs.jsonl', recipe: '../../recipe.yaml' } },
      'params.recipe',
      /leads out/,
    ],
    [
      'a recipe that asks for a base outside',
      { type: 'finetune', params: { dataset: 'pairs.jsonl', recipe: { base: '/etc' } } },
      'recipe.base',
      /leads out/,
    ],
    [
      'a recipe that asks for data outside',
      { type: 'finetune', params: { recipe: { stages: [{ steps: 1, sources: [{ path: '../secret' }] }] } } },
      'recipe.stages[0].sources[0].path',
      /leads out/,
    ],
    [
      'a recipe that judges outside',
      { type: 'finetune', params: { dataset: 'pairs.jsonl', recipe: { evaluation: { sets: ['/etc:dev'] } } } },
      'recipe.evaluation.sets[0]',
      /leads out/,
    ],
    ['sets outside', { type: 'evaluate', params: { sets: ['base', '../x:dev'] } }, 'params.sets[1]', /leads out/],
    [
      'another secret than a key for an LLM',
      { type: 'synthesize', params: { collection: 'texts', llm: { apiKeyEnv: 'ANCHORAGE_ADMIN_TOKEN' } } },
      'params.llm.apiKeyEnv',
      /must match pattern/,
    ],
  ])('refuses %s by its name', async (_what, body, field, message) => {
    const { statusCode, payload } = await post(body);
    expect(JSON.parse(payload)).toMatchObject({ code: 'VALIDATION', field, error: expect.stringMatching(message) });
    expect(statusCode).toBe(422);
  });

  it.each([
    ['a collection', { type: 'synthesize', params: { collection: 'nowhere' } }],
    ['a model', { type: 'evaluate', params: { model: 'no-model@1', sets: ['base'] } }],
  ])('does not find %s that is not there', async (_what, body) => {
    expect((await post(body)).statusCode).toBe(404);
  });
});

describe('DELETE /admin/jobs/{id}', () => {
  it('ends a job that waits and one that runs', async () => {
    const [runs, waits] = [(await post(finetune)).json(), (await post(finetune)).json()];
    const end = async (id: string) =>
      (await real.app.inject({ method: 'DELETE', url: `/admin/jobs/${id}`, headers })).json();
    expect(await end(waits.id)).toMatchObject({ state: 'cancelled', startedAt: null });
    expect(await end(runs.id)).toMatchObject({ state: 'cancelled' });
    expect((await eventsOf(runs.id)).at(-1)).toMatchObject({ data: { state: 'cancelled' } });
    expect((await end(runs.id)).code).toBe('CONFLICT');
    expect((await end('no-such-job')).code).toBe('NOT_FOUND');
  });
});

describe('GET /admin/jobs/{id}/events', () => {
  it('lets a listener go that hangs up, and the others hear on', async () => {
    await real.app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = real.app.server.address() as AddressInfo;
    const { id } = (await post(finetune)).json();
    await new Promise<void>((resolve) => {
      const listener = httpRequest({ port, path: `/admin/jobs/${id}/events`, headers }, (response) => {
        expect(response.headers['content-type']).toMatch(/^text\/event-stream/);
        response.once('data', () => {
          listener.destroy();
          resolve();
        });
      });
      listener.on('error', () => {});
      listener.end();
    });
    expect((await eventsOf(id)).at(-1)).toMatchObject({ data: { state: 'succeeded' } });
  });

  it('refuses an id that is none', async () => {
    const [{ id }] = (await get('/admin/jobs')).json().jobs;
    expect((await get(`/admin/jobs/${id}/events`, { 'last-event-id': 'x' })).statusCode).toBe(422);
    expect((await get('/admin/jobs/none/events')).statusCode).toBe(404);
  });
});

describe('GET /admin/job-types', () => {
  it('has a schema for every type, with defaults', async () => {
    const { types } = (await get('/admin/job-types')).json();
    expect(types.finetune.properties.steps).toMatchObject({ type: 'integer', default: 100 });
  });
});

describe('the audit log', () => {
  it('has every change and every refusal, no secret, and is its own user alone to read', async () => {
    const { entries } = (await get('/admin/audit')).json() as { entries: Record<string, unknown>[] };
    expect(entries).toContainEqual(
      expect.objectContaining({
        method: 'POST',
        route: '/admin/jobs',
        type: 'finetune',
        status: 202,
        location: expect.stringMatching(/^\/admin\/jobs\//),
      }),
    );
    expect(entries).toContainEqual(expect.objectContaining({ status: 401 }));
    expect(entries).toContainEqual(
      expect.objectContaining({ method: 'DELETE', params: { id: 'no-such-job' }, status: 404 }),
    );
    const file = join(real.parts.config.dataDir, 'audit.jsonl');
    expect(readFileSync(file, 'utf8')).not.toContain(ADMIN_TOKEN);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const times = entries.map(({ at }) => String(at));
    expect(times).toEqual([...times].sort().reverse());
  });
});
