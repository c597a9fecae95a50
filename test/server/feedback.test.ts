import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { feedbackData } from '../../src/jobs/feedback-data.js';
import { FeedbackTables } from '../../src/jobs/feedback-tables.js';
import { ADMIN_TOKEN, openRealApp, type RealApp } from './real-app.js';

const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
const texts = Array.from({ length: 30 }, (_, at) => ({
  id: `t${at}`,
  text: `Note ${at} on the tide at pier ${at % 7}.`,
}));
let real: RealApp;
const post = async (url: string, payload: object, app = real.app) => {
  const { statusCode, payload: body } = await app.inject({ method: 'POST', url, payload });
  return { status: statusCode, body: JSON.parse(body) };
};

describe('feedback that is on', () => {
  beforeAll(async () => {
    real = await openRealApp('--workers', '1', '--feedback');
    await post('/documents', { documents: texts });
  });
  afterAll(() => real.close());

  it('takes what is said of a search by its id, and a later word for an earlier one', async () => {
    const { body: found } = await post('/search', { query: 'tide at pier 3', k: 3 });
    expect(found.queryId).toMatch(/^[0-9a-f-]{36}$/);
    const { queryId } = found;
    for (const [documentId, label] of [
      ['t3', 'irrelevant'],
      ['t3', 'relevant'],
      ['t1', 'irrelevant'],
      ['t10', 2.5],
    ]) {
      expect(await post('/feedback', { queryId, documentId, label })).toEqual({ status: 200, body: { stored: true } });
    }
    const [judged] = await real.parts.feedback!.judged('default');
    expect(judged!.labels).toHaveLength(3);
    expect(judged!.labels).toContainEqual({ documentId: 't3', label: 2 });
  });

  it('gives every query of a list its id', async () => {
    const { body } = await post('/search', { queries: ['pier 1', 'pier 2'], k: 1 });
    expect(new Set(body.queryIds).size).toBe(2);
    expect(body.queryId).toBeUndefined();
  });

  it('makes training records of some queries and an evaluation set of the others', async () => {
    for (let at = 0; at < 30; at += 1) {
      const { body } = await post('/search', { query: `where is note ${at}`, k: 1 });
      await post('/feedback', { queryId: body.queryId, documentId: `t${at}`, label: 'relevant' });
      await post('/feedback', { queryId: body.queryId, documentId: `t${(at + 1) % 30}`, label: 'irrelevant' });
    }
    const folder = mkdtempSync(join(tmpdir(), 'anchorage-feedback-'));
    const [train, corpus] = [join(folder, 'train.jsonl'), join(folder, 'corpus.jsonl')];
    writeFileSync(train, '{"query":"first"}\n');
    writeFileSync(corpus, '{"_id":"t0","text":"x"}\n');
    const request = {
      judged: await real.parts.feedback!.judged('default'),
      collection: real.parts.collections.get('default'),
      ...{ train, corpus, output: join(folder, 'out.jsonl'), set: join(folder, 'set'), share: 0.3, seed: 1 },
    };
    const { trained, queries } = await feedbackData(request);
    expect(trained + queries).toBe(31);
    expect(queries).toBeGreaterThan(3);
    const lines = readFileSync(request.output, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(1 + trained);
    expect(lines.at(-1)).toMatchObject({ pos: [expect.any(String)], neg: [expect.any(String)], neg_levels: [1] });
    const aside = readFileSync(join(folder, 'set', 'queries.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).text);
    expect(lines.filter(({ query }) => aside.includes(query))).toEqual([]);
    expect(readFileSync(join(folder, 'set', 'qrels', 'test.tsv'), 'utf8').split('\n')[0]).toBe(
      'query-id\tcorpus-id\tscore',
    );
    // The same again, whatever was there before.
    expect(await feedbackData(request)).toEqual({ trained, queries });
    expect(readFileSync(request.output, 'utf8').trim().split('\n')).toHaveLength(1 + trained);
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['a search that nobody made', { queryId: 'none', documentId: 't1', label: 'click' }, 404],
    ['a label that is none', { queryId: 'none', documentId: 't1', label: 'great' }, 422],
    ['a grade out of bounds', { queryId: 'none', documentId: 't1', label: 4 }, 422],
  ])('refuses %s', async (_what, payload, status) => {
    expect((await post('/feedback', payload)).status).toBe(status);
  });

  it('refuses a document that is not there', async () => {
    const { body } = await post('/search', { query: 'pier', k: 1 });
    expect(await post('/feedback', { queryId: body.queryId, documentId: 'gone', label: 'click' })).toMatchObject({
      status: 404,
      body: { field: 'documentId' },
    });
  });

  it('is counted, and forgotten when it is asked to be', async () => {
    const counts = async () => (await real.app.inject({ url: '/admin/feedback', headers })).json();
    expect(await counts()).toMatchObject({ enabled: true, labels: 63 });
    const { payload } = await real.app.inject({ method: 'DELETE', url: '/admin/feedback', headers });
    expect(JSON.parse(payload).forgotten).toBeGreaterThan(30);
    expect(await counts()).toMatchObject({ queries: 0, labels: 0, oldestAt: null });
  });
});

it('feedback that is off keeps nothing, and says so', async () => {
  const off = await openRealApp('--workers', '1');
  try {
    await post('/documents', { documents: texts.slice(0, 2) }, off.app);
    const { body } = await post('/search', { query: 'pier', k: 1 }, off.app);
    expect(body.queryId).toBeUndefined();
    const refused = await post('/feedback', { queryId: 'x', documentId: 't1', label: 'click' }, off.app);
    expect(refused).toMatchObject({ status: 409, body: { error: expect.stringContaining('--feedback') } });
    expect(existsSync(join(off.parts.config.dataDir, 'feedback.sqlite'))).toBe(false);
  } finally {
    await off.close();
  }
});

it('what is older than the retention goes, labels and all', () => {
  const folder = mkdtempSync(join(tmpdir(), 'anchorage-feedback-'));
  const tables = new FeedbackTables(join(folder, 'feedback.sqlite'));
  tables.addQueries({ queries: [{ id: 'old', collection: 'c', text: 'a' }], nowMs: 1_000 });
  tables.addQueries({ queries: [{ id: 'new', collection: 'c', text: 'b' }], nowMs: 2_000 });
  for (const queryId of ['old', 'new'])
    tables.addLabel({ label: { queryId, documentId: 'd', label: 1 }, nowMs: 2_000 });
  expect(tables.forget({ beforeMs: 1_500 })).toBe(1);
  expect(tables.counts()).toEqual({ queries: 1, labels: 1, oldestMs: 2_000 });
  tables.close();
  rmSync(folder, { recursive: true });
});
