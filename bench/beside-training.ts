/**
 * What a training job does to serving: the time of one /search at a time (its query is embedded and searched; no two are the
 * same), while nothing else runs and while the server's own finetune job runs, in turns. Idle and training seconds stand next
 * to each other, so that other load on the machine is in both. The trainer must be there: bash trainer/environment.sh --weights
 *
 *   npm run bench -- beside-training [--priority idle,low,normal] [--seconds 20] [--rounds 3] [--threads 0] [--every 20] [--keep]
 */
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { examplePapers } from './corpus.js';
import { keep, machine, median, quantile } from './report.js';
import { type ServerProcess, startServer } from './server-process.js';

const { values } = parseArgs({
  options: {
    priority: { type: 'string', default: 'idle,low,normal' },
    seconds: { type: 'string', default: '20' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '0' },
    // Milliseconds from one question to the next: a machine that is not asked all the time, as one that trains should be.
    every: { type: 'string', default: '20' },
    keep: { type: 'boolean', default: false },
  },
});

process.env.ANCHORAGE_ADMIN_TOKEN = 'bench';
const headers = { authorization: 'Bearer bench', 'content-type': 'application/json' };
const papers = examplePapers();
let asked = 0;

async function call<Answer>(
  server: ServerProcess,
  path: string,
  body?: object,
  method = body ? 'POST' : 'GET',
): Promise<Answer> {
  const init = body
    ? { method, headers, body: JSON.stringify(body) }
    : { method, headers: { authorization: headers.authorization } };
  const response = await fetch(`${server.url}${path}`, init);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Answer;
}

/** Milliseconds of each search within so many seconds. */
async function searchFor(server: ServerProcess, seconds: number): Promise<number[]> {
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    asked += 1;
    const query = `${papers[asked % papers.length]!.title} ${asked}`;
    const started = performance.now();
    await call(server, '/search', { query, k: 10 });
    const took = performance.now() - started;
    times.push(took);
    await pause(Math.max(0, Number(values.every) - took));
  }
  return times;
}

interface Job {
  readonly id: string;
  readonly state: string;
  readonly error: unknown;
  readonly metrics: { readonly step?: number; readonly tokensPerSecond?: number };
}

/** Starts a job that outlasts the round; resolves when it trains. */
async function train(server: ServerProcess): Promise<string> {
  const params = { dataset: 'pairs.jsonl', steps: 100_000, batchSize: 32, maxTokens: 128 };
  const { id } = await call<Job>(server, '/admin/jobs', { type: 'finetune', params });
  for (;;) {
    const { state, error, metrics } = await call<Job>(server, `/admin/jobs/${id}`);
    if ((metrics.step ?? 0) >= 1) return id;
    if (state !== 'queued' && state !== 'running') throw new Error(`the job ${state}: ${JSON.stringify(error)}`);
    await pause(500);
  }
}

async function measure(priority: string): Promise<object> {
  const server = await startServer('--job-priority', priority, '--job-threads', values.threads);
  const idle: number[] = [];
  const training: number[] = [];
  const speeds: number[] = [];
  try {
    const pairs = papers.map(({ title, abstract }) => JSON.stringify({ query: title, positive: abstract }));
    writeFileSync(join(server.dataDir, 'pairs.jsonl'), `${pairs.join('\n')}\n`);
    const documents = papers.map(({ title, abstract }, at) => ({ id: `p${at}`, text: `${title}\n${abstract}` }));
    await call(server, '/documents', { documents });
    await searchFor(server, 2);
    for (let round = 0; round < Number(values.rounds); round++) {
      idle.push(...(await searchFor(server, Number(values.seconds))));
      const id = await train(server);
      training.push(...(await searchFor(server, Number(values.seconds))));
      const { metrics } = await call<Job>(server, `/admin/jobs/${id}`);
      speeds.push(metrics.tokensPerSecond ?? 0);
      await call(server, `/admin/jobs/${id}`, undefined, 'DELETE');
    }
  } finally {
    await server.close();
  }
  const shown = (times: readonly number[]) => ({
    searches: times.length,
    p50Ms: round2(quantile(times, 0.5)),
    p95Ms: round2(quantile(times, 0.95)),
    p99Ms: round2(quantile(times, 0.99)),
  });
  const ratio = round2(quantile(training, 0.99) / quantile(idle, 0.99));
  return {
    priority,
    idle: shown(idle),
    training: shown(training),
    p99Ratio: ratio,
    tokensPerSecond: Math.round(median(speeds)),
  };
}

const round2 = (value: number): number => Math.round(value * 100) / 100;

const results = [];
for (const priority of values.priority.split(',')) {
  const result = { ...(await measure(priority)), loadAverage: loadavg().map(round2) };
  console.log(JSON.stringify(result));
  results.push(result);
}
if (values.keep) {
  const { seconds, rounds, threads, every } = values;
  console.log(
    keep('beside-training', {
      setup: {
        secondsARound: Number(seconds),
        rounds: Number(rounds),
        trainerThreads: Number(threads),
        everyMs: Number(every),
      },
      results,
    }),
  );
} else console.log(JSON.stringify(machine()));
