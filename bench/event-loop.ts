/**
 * What bulk work does to everybody else: how late the main thread's event loop runs while the workers are saturated, and
 * how long a query takes beside it, against the same on an idle server.
 *
 *   npm run bench -- event-loop [--model NAME@VERSION --models-dir DIR --workers N --threads N --batch-tokens N --seconds N]
 */
import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import { createMetrics } from '../src/metrics.js';
import { ModelRegistry } from '../src/model/registry.js';
import { examplePapers, withoutRepeats } from './corpus.js';
import { keep, machine, median, quantile } from './report.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TEXTS_PER_REQUEST = 2048;
/** Queries come at their own pace, not as fast as the last one was answered. */
const QUERY_EVERY_MS = 50;

const defaults = readConfig({ argv: [], env: {} }) as Config;
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: defaults.model },
    'models-dir': { type: 'string', default: join(ROOT, 'models') },
    workers: { type: 'string', default: `${defaults.workers}` },
    threads: { type: 'string', default: `${defaults.threadsPerWorker}` },
    'batch-tokens': { type: 'string', default: `${defaults.batchTokensMax}` },
    seconds: { type: 'string', default: '10' },
    keep: { type: 'boolean', default: false },
  },
});

const metrics = createMetrics();
const registry = await ModelRegistry.open({
  ...{ modelsDir: values['models-dir'], model: values.model, batchTokensMax: Number(values['batch-tokens']) },
  ...{ workers: Number(values.workers), threadsPerWorker: Number(values.threads) },
  ...{ queueTextsMax: 100_000, cacheBytesMax: 0, engine: 'auto', device: 'cpu', metrics },
});
const { live } = registry;
const papers = examplePapers();
const titles = papers.map(({ title }) => title);
const mixture = withoutRepeats([...titles, ...papers.map(({ abstract }) => abstract)], TEXTS_PER_REQUEST);

const bulkTokens = async (): Promise<number> => {
  return (await metrics.embedTokens.get()).values.find(({ labels }) => labels.lane === 'bulk')!.value;
};

/** Asks queries for so long. @returns milliseconds of each. */
async function queries(seconds: number): Promise<number[]> {
  const answers: Promise<number>[] = [];
  const end = performance.now() + seconds * 1000;
  for (let i = 0; performance.now() < end; i++) {
    const start = performance.now();
    answers.push(
      live.embed([`${i} ${titles[i % titles.length]}`], { lane: 'query' }).then(() => performance.now() - start),
    );
    await pause(QUERY_EVERY_MS);
  }
  return Promise.all(answers);
}

interface Phase {
  readonly loopDelayP99Ms: number;
  readonly loopDelayMaxMs: number;
  readonly loopBusyShare: number;
  readonly queryMedianMs: number;
  readonly queryP99Ms: number;
  readonly bulkTokensPerSecond: number;
}

/** @param ask whether queries come in. */
async function observed(seconds: number, ask: boolean): Promise<Phase> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const usage = performance.eventLoopUtilization();
  const before = await bulkTokens();
  const start = performance.now();
  delay.enable();
  const latencies = ask ? await queries(seconds) : [await pause(seconds * 1000, 0)];
  delay.disable();
  const elapsed = (performance.now() - start) / 1000;
  return {
    loopDelayP99Ms: delay.percentile(99) / 1e6,
    loopDelayMaxMs: delay.max / 1e6,
    loopBusyShare: performance.eventLoopUtilization(usage).utilization,
    queryMedianMs: median(latencies),
    queryP99Ms: quantile(latencies, 0.99),
    bulkTokensPerSecond: ((await bulkTokens()) - before) / elapsed,
  };
}

const seconds = Number(values.seconds);
await queries(1);
const idle = await observed(seconds, true);
const ingest = new AbortController();
const saturation = (async () => {
  while (!ingest.signal.aborted) {
    // Two requests of thousands of texts, so that the workers always have the next one.
    const requests = [0, 1].map(() => live.embed(mixture, { lane: 'bulk', signal: ingest.signal }));
    await Promise.allSettled(requests);
  }
})();
await pause(1000);
const bulk = await observed(seconds, false);
const both = await observed(seconds, true);
ingest.abort();
await saturation;
await registry.close();

const ms = (value: number): string => `${value.toFixed(1)} ms`;
const show = (name: string, { loopDelayP99Ms, loopDelayMaxMs, loopBusyShare }: Phase): string =>
  `${name.padEnd(14)} event loop late p99 ${ms(loopDelayP99Ms)}, max ${ms(loopDelayMaxMs)}, busy ${(100 * loopBusyShare).toFixed(1)}%`;
console.log(`${show('idle', idle)}; query median ${ms(idle.queryMedianMs)}, p99 ${ms(idle.queryP99Ms)}`);
console.log(`${show('bulk', bulk)}; ${bulk.bulkTokensPerSecond.toFixed(0)} tokens/s`);
console.log(
  `${show('bulk + queries', both)}; ${both.bulkTokensPerSecond.toFixed(0)} tokens/s; query median ${ms(both.queryMedianMs)}, p99 ${ms(both.queryP99Ms)}`,
);
console.log(`query p99 beside bulk / idle: ${(both.queryP99Ms / idle.queryP99Ms).toFixed(2)}`);
console.log(JSON.stringify(machine()));
if (values.keep) console.log(`kept in ${keep('event-loop', { settings: values, idle, bulk, both })}`);
