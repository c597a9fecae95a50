/** The queue over real processes: a stand-in in the trainer's place, the real store, the real model registry. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Config, readConfig } from '../../src/config.js';
import { Collections } from '../../src/index/collections.js';
import { fillParams } from '../../src/jobs/check-params.js';
import type { Job, JobEvent, JobType, Json } from '../../src/jobs/job.js';
import { JobStore } from '../../src/jobs/job-store.js';
import { Jobs } from '../../src/jobs/jobs.js';
import { RecentQueries } from '../../src/jobs/recent-queries.js';
import { type TrainerLimits, trainerLimits } from '../../src/jobs/trainer-process.js';
import { createMetrics } from '../../src/metrics.js';
import { ModelRegistry } from '../../src/model/registry.js';
import { standInTrainer, TRAINS } from './stand-in-trainer.js';

let models: ModelRegistry;
let dataDir: string;
let collections: Collections;
let jobs: Jobs;
let store: JobStore;
const metrics = createMetrics();

beforeAll(async () => {
  const config = readConfig({ argv: ['--workers', '1'], env: {} }) as Config;
  models = await ModelRegistry.open({ ...config, metrics });
});
afterAll(() => models.close());

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'anchorage-queue-'));
  mkdirSync(join(dataDir, 'base'));
  writeFileSync(join(dataDir, 'pairs.jsonl'), '{}');
  collections = await Collections.open({ dataDir, metrics });
});
afterEach(async () => {
  await close();
  await collections.close();
  rmSync(dataDir, { recursive: true });
});

async function open(trainerDir: string, limits: Partial<TrainerLimits> = {}): Promise<void> {
  const argv = ['--data-dir', dataDir, '--job-queue-max', '3', '--job-llm-urls', 'https://api.example.com/v1'];
  const config = readConfig({ argv, env: {} }) as Config;
  const trainer = { ...trainerLimits({ ...config, trainerDir, jobPriority: 'normal' }, process.env), ...limits };
  store = new JobStore(dataDir);
  jobs = await Jobs.open({
    config,
    metrics,
    models,
    collections,
    trainer,
    store,
    recentQueries: new RecentQueries(),
  });
}

async function close(): Promise<void> {
  await jobs.stop();
  await store.close();
}

async function submit(type: JobType, given: Json, key?: string): Promise<Job> {
  const filled = fillParams(type, given);
  if ('faults' in filled) throw new Error(JSON.stringify(filled.faults));
  return (await jobs.submit(type, filled.params, key)).job;
}

const finetune = (key?: string) => submit('finetune', { dataset: 'pairs.jsonl', base: 'base' }, key);

async function eventsOf(id: string, until: (event: JobEvent) => boolean = () => false, after = 0): Promise<JobEvent[]> {
  const controller = new AbortController();
  const events: JobEvent[] = [];
  for await (const event of jobs.events(id, after, controller.signal)) {
    if (event === 'idle') continue;
    events.push(event);
    if (until(event)) controller.abort();
  }
  return events;
}

const atStep =
  (step: number) =>
  ({ event, data }: JobEvent) =>
    event === 'progress' && Number(data.step) >= step;
async function over(id: string): Promise<Job> {
  await eventsOf(id);
  return jobs.get(id);
}

describe('a job', () => {
  it('runs to its end and tells how far it is, with its curve', async () => {
    await open(standInTrainer(TRAINS(20, 40)));
    const { id } = await finetune();
    const events = await eventsOf(id);
    const job = await jobs.get(id);
    expect(job).toMatchObject({ state: 'succeeded', progress: 1, attempts: 1, error: null });
    expect(job.artifacts.model).toBe(`jobs/${id}/run/model`);
    expect(job.metrics).toMatchObject({ finetune: { steps: 20 } });
    expect(events.filter(({ event }) => event === 'state').map(({ data }) => data.state)).toEqual([
      'queued',
      'running',
      'succeeded',
    ]);
    const shares = events.flatMap(({ event, data }) => (event === 'progress' ? [Number(data.progress)] : []));
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect((await jobs.curve(id)).at(-1)).toMatchObject({ step: 20, loss: 0.05 });
    expect(readFileSync(join(jobs.folderOf(id), 'log.txt'), 'utf8')).toContain('"event":"done"');
    const series = await metrics.registry.metrics();
    expect(series).toContain('anchorage_jobs{type="finetune",state="succeeded"} 1');
    expect(series).not.toContain(`anchorage_job_progress_ratio{id="${id}"}`);
  });

  it('sends the trainer to the LLM by the URL that was checked', async () => {
    await open(standInTrainer(`emit('done', { asked: flag('llm-base-url') });`));
    const llm = { baseUrl: 'https://API.example.com:443/v1/.' };
    const { id } = await submit('synthesize', { corpus: 'pairs.jsonl', provider: 'openai', llm });
    expect(await over(id)).toMatchObject({ state: 'succeeded' });
    const log = readFileSync(join(jobs.folderOf(id), 'log.txt'), 'utf8');
    expect(log).toContain('"asked":"https://api.example.com/v1/"');
  });

  it('waits for the one before it, in the order of asking', async () => {
    await open(standInTrainer(TRAINS(10)));
    const [first, second] = [await finetune(), await finetune()];
    await over(second.id);
    const [one, two] = [await jobs.get(first.id), await jobs.get(second.id)];
    expect(one.finishedAt! <= two.startedAt!).toBe(true);
  });

  it('is refused where the queue is full, and made once for one key', async () => {
    await open(standInTrainer(TRAINS(1_000)));
    const running = await finetune();
    await eventsOf(running.id, atStep(1));
    const { id } = await finetune('once');
    expect((await finetune('once')).id).toBe(id);
    await finetune();
    await finetune();
    await expect(finetune()).rejects.toMatchObject({ code: 'OVERLOADED' });
    for (const { id: one } of (await jobs.unfinished()).reverse()) await jobs.cancel(one);
  });

  it('gives its events from any point on', async () => {
    await open(standInTrainer(TRAINS(10)));
    const { id } = await finetune();
    const all = await eventsOf(id);
    const rest = await eventsOf(id, undefined, all[2]!.sequence);
    expect(rest).toEqual(all.slice(3));
  });
});

describe('the end of a job', () => {
  it('by cancelling leaves its checkpoint and no process', async () => {
    await open(standInTrainer(TRAINS(10_000)));
    const { id } = await finetune();
    await eventsOf(id, atStep(7));
    const cancelled = await jobs.cancel(id);
    expect(cancelled.state).toBe('cancelled');
    expect(Number(readFileSync(join(jobs.folderOf(id), 'run', 'checkpoint'), 'utf8'))).toBeGreaterThanOrEqual(7);
    await expect(jobs.cancel(id)).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it.each([
    [1, 'trainer'],
    [2, 'input'],
    [3, 'parity'],
    [4, 'endpoint'],
    [5, 'diverged'],
    [6, 'disk'],
  ])('by exit code %i is a failure called %s, in the words of the trainer', async (code, reason) => {
    await open(
      standInTrainer(
        `console.error('a line before'); emit('error', { type: 'X', message: 'what is wrong' }); process.exit(${code});`,
      ),
    );
    const { id } = await finetune();
    expect(await over(id)).toMatchObject({
      state: 'failed',
      error: { reason, message: 'what is wrong', lines: ['a line before'] },
    });
  });

  it('without a word says how it came', async () => {
    await open(standInTrainer(`console.error('Traceback: boom'); process.kill(process.pid, 'SIGSEGV');`));
    const { id } = await finetune();
    expect((await over(id)).error).toMatchObject({
      reason: 'trainer',
      message: "the trainer's finetune was ended by SIGSEGV",
      lines: ['Traceback: boom'],
    });
  });

  it('comes to one that is silent', async () => {
    await open(standInTrainer('setInterval(() => {}, 1000);'), { silenceMsMax: 400 });
    const { id } = await finetune();
    expect((await over(id)).error).toMatchObject({ reason: 'silent' });
  });

  it('comes before the beginning where the environment cannot be made', async () => {
    const script = 'echo "trainer: installing" >&2\necho "no route to the package index" >&2\nexit 1';
    await open(standInTrainer('emit("done");', script));
    const { id } = await finetune();
    const events = await eventsOf(id);
    expect(events.map(({ data }) => data.stage)).toContain('environment: installing');
    expect((await jobs.get(id)).error).toMatchObject({
      reason: 'environment',
      message: expect.stringMatching(/could not be made \(no route to the package index\); it needs Python 3\.10/),
    });
  });

  it('comes to one without a trainer', async () => {
    await open(join(dataDir, 'nowhere', 'trainer'));
    const { id } = await finetune();
    expect((await over(id)).error).toMatchObject({
      reason: 'environment',
      message: expect.stringContaining('--trainer-dir'),
    });
  });

  it('comes to one whose program is no program', async () => {
    const trainerDir = standInTrainer('emit("done");');
    rmSync(join(trainerDir, '.venv'), { recursive: true });
    await open(trainerDir);
    const { id } = await finetune();
    expect((await over(id)).error?.reason).toBe('trainer');
  });
});

describe('a server that ends while a job runs', () => {
  it('stops it at a checkpoint, and the next one goes on from there', async () => {
    const trainerDir = standInTrainer(TRAINS(40));
    await open(trainerDir);
    const { id } = await finetune();
    await eventsOf(id, atStep(11));
    await close();
    await open(trainerDir);
    const events = await eventsOf(id);
    const begins = events.flatMap(({ data }) => (data.stage === 'begins' ? [Number(data.step)] : []));
    expect(begins).toHaveLength(2);
    expect(begins[1]).toBeGreaterThanOrEqual(11);
    expect(await jobs.get(id)).toMatchObject({ state: 'succeeded', attempts: 1 });
  });
});
