/**
 * The loop with nothing replaced: a real server, the real trainer, a small budget. 300 arXiv abstracts (CC0) are indexed,
 * one call makes training data of them, trains, exports, judges and deploys; the titles, which nothing of this has seen, are
 * the queries that tell before from after.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type ServerProcess, startServer } from '../../bench/server-process.js';

/** `bash trainer/environment.sh` makes it; .ci/run has it made. */
const trainerIsThere = existsSync('trainer/.venv/.installed');
if (!trainerIsThere) console.warn('test/e2e/loop.test.ts is skipped: bash trainer/environment.sh makes what it needs');

const OLD = 'anchorage-small@6-int8';
const K = 10;
const headers = { authorization: 'Bearer token', 'content-type': 'application/json' };
const { documents } = JSON.parse(readFileSync('examples/corpus/arxiv.json', 'utf8')) as {
  documents: { id: string; text: string }[];
};
const papers = documents.map(({ id, text }) => {
  const [title = '', ...rest] = text.split('\n');
  return { id, title, abstract: rest.join('\n') };
});

let dataDir: string;
let server: ServerProcess;

const start = (): Promise<ServerProcess> => startServer('--data-dir', dataDir, '--job-priority', 'normal');
const ask = async (path: string, init: RequestInit = {}): Promise<Record<string, unknown>> =>
  (await fetch(`${server.url}${path}`, { headers, ...init })).json() as Promise<Record<string, unknown>>;
const post = (path: string, body?: object) =>
  ask(path, {
    method: 'POST',
    ...(body ? { body: JSON.stringify(body) } : { headers: { authorization: headers.authorization } }),
  });

/** Follows a job by its events. @returns the job when it is over, and the stages that it went through. */
async function follow(id: string): Promise<{ job: Record<string, unknown>; stages: string[] }> {
  const response = await fetch(`${server.url}/admin/jobs/${id}/events`, { headers });
  const stages: string[] = [];
  let rest = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + chunk).split('\n\n');
    rest = blocks.pop()!;
    for (const block of blocks) {
      const data = block.split('\n').find((line) => line.startsWith('data: '));
      const stage = data && (JSON.parse(data.slice('data: '.length)) as { stage?: string }).stage;
      if (stage !== undefined && stage !== stages.at(-1)) stages.push(stage);
    }
  }
  return { job: await ask(`/admin/jobs/${id}`), stages };
}

/** nDCG@10 of the titles as queries, each with its own abstract to be found. */
async function ndcg(): Promise<{ value: number; model: string }> {
  const queries = papers.map(({ title }) => title);
  const answer = await post('/search', {
    collection: 'papers',
    queries,
    k: K,
    mode: 'dense',
    exact: true,
    include: [],
  });
  const results = answer.results as { id: string }[][];
  const gains = papers.map(({ id }, at) => {
    const rank = results[at]!.findIndex((one) => one.id === id);
    return rank < 0 ? 0 : 1 / Math.log2(rank + 2);
  });
  return { value: gains.reduce((sum, gain) => sum + gain, 0) / gains.length, model: String(answer.modelVersion) };
}

describe.skipIf(!trainerIsThere)('one call', () => {
  beforeAll(async () => {
    vi.stubEnv('ANCHORAGE_ADMIN_TOKEN', 'token');
    dataDir = mkdtempSync(join(tmpdir(), 'anchorage-loop-'));
    server = await start();
    await post('/documents', {
      collection: 'papers',
      documents: papers.map(({ id, abstract }) => ({ id, text: abstract })),
    });
  });
  afterAll(async () => {
    await server?.close();
    vi.unstubAllEnvs();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('makes a model from a collection, serves it with its own vectors, keeps it over a restart, and goes back', {
    timeout: 40 * 60_000,
  }, async () => {
    const before = await ndcg();
    expect(before.model).toBe(OLD);
    const { id } = await post('/admin/jobs', {
      type: 'pipeline',
      params: {
        collection: 'papers',
        synthesize: { records: 150 },
        finetune: { steps: 4, batchSize: 8, maxTokens: 64, learningRate: 1e-6 },
        export: { quantization: 'float32' },
        heldOut: 0.4,
        // So few steps gain nothing that could be told from chance: what is tested is that all of it works.
        gate: 'always',
      },
    });
    const { job, stages } = await follow(String(id));
    expect(job, JSON.stringify(job.error)).toMatchObject({ state: 'succeeded', progress: 1 });
    const { artifacts, metrics, curve } = job as {
      artifacts: Record<string, string>;
      metrics: Record<string, never>;
      curve: object[];
    };
    expect(stages).toEqual(
      expect.arrayContaining(['export texts', 'synthesize', 'finetune', 'export', 'evaluate', 'deploy: 6 flip']),
    );
    expect(curve.length).toBeGreaterThan(0);
    expect(existsSync(join(dataDir, artifacts.dataset!, 'train.jsonl'))).toBe(true);
    expect(metrics.deployment).toMatchObject({ before: OLD, model: artifacts.version, verdict: { passes: true } });
    const { comparisons } = metrics.deployment as unknown as { comparisons: { set: string; items: number }[] };
    expect(comparisons).toEqual([expect.objectContaining({ set: 'heldout', metric: 'ndcg@10' })]);

    const after = await ndcg();
    expect(after.model).toBe(artifacts.version);
    expect(after.value).toBeGreaterThan(before.value - 0.02);
    expect((await ask('/collections/papers')).model).toMatchObject({ id: artifacts.version });
    expect((await ask('/info')).model_sha).not.toBe(undefined);

    await server.close();
    server = await start();
    expect(await ndcg()).toEqual(after);

    const back = await follow(String((await post('/admin/models/rollback')).id));
    expect(back.job, JSON.stringify(back.job.error)).toMatchObject({ state: 'succeeded' });
    expect(await ndcg()).toEqual(before);
    console.info(
      `nDCG@10 of ${papers.length} unseen titles: ${before.value.toFixed(4)} before, ${after.value.toFixed(4)} after`,
    );
  });
});
