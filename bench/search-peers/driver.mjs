/** What the drivers that are written in JavaScript share: reading the task, and measuring a curve. See search-contest.ts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const taskOf = (folder) => JSON.parse(readFileSync(join(folder, 'task.json'), 'utf8'));

/** Rows with a buffer each. */
export function rowsOf(file, dimensions) {
  const bytes = readFileSync(file);
  const rowBytes = dimensions * 4;
  return Array.from(
    { length: bytes.length / rowBytes },
    (_, row) => new Float32Array(Uint8Array.prototype.slice.call(bytes, row * rowBytes, (row + 1) * rowBytes).buffer),
  );
}

/** Of document n, in every contender: a number below 1,000 that is 0 for every thousandth, and one of two words. */
export const metadataOf = (n, vector) => ({ n: (n * 7919) % 1000, side: vector[0] > 0 ? 'right' : 'left' });

/** @returns a function: how many of `count` a second since now, and the processor time of each, of all threads. */
export function stopwatch(count) {
  const started = performance.now();
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return { perSecond: count / ((performance.now() - started) / 1000), processorMs: (user + system) / 1000 / count };
  };
}

export const msSinceSpawned = () => Date.now() - Number(process.env.ANCHORAGE_BENCH_SPAWNED_MS);

/** @param field VmRSS, or VmHWM for the most there has been. @returns bytes; 0 where there is no /proc. */
export function memory(field) {
  try {
    return (
      1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))[1])
    );
  } catch {
    return 0;
  }
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const quantile = (values, fraction) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * fraction))];

/**
 * Passes over the whole ladder, one after another; of each point the fastest round counts, and the least processor time.
 * @param settings [{parameter, …}] @param search (query, setting) -> ids, best first.
 */
export async function curve(task, queries, settings, search) {
  const best = new Map();
  for (let round = 0; round < task.rounds; round++) {
    for (const setting of settings) {
      const point = await pointAt(task, queries, setting, search);
      const before = best.get(setting) ?? point;
      const fastest = point.queriesPerSecond > before.queriesPerSecond ? point : before;
      best.set(setting, { ...fastest, processorMs: Math.min(point.processorMs, before.processorMs) });
    }
  }
  return [...best.values()];
}

async function pointAt(task, queries, setting, search) {
  const timesMs = [];
  const recalls = [];
  const elapsed = stopwatch(queries.length);
  for (const [n, query] of queries.entries()) {
    const started = performance.now();
    const found = await search(query, setting);
    timesMs.push(performance.now() - started);
    recalls.push(found.filter((id) => task.truth[n].includes(id)).length / task.truth[n].length);
  }
  return {
    processorMs: elapsed().processorMs,
    parameter: setting.parameter,
    recallAt10: mean(recalls),
    queriesPerSecond: 1000 / mean(timesMs),
    p50Ms: quantile(timesMs, 0.5),
    p99Ms: quantile(timesMs, 0.99),
  };
}

/** Queries a second with several under way, at the fastest setting whose recall is enough; undefined where none's is. */
export async function concurrentRate(task, queries, { points, settings, search }) {
  const enough = points.filter(({ recallAt10 }) => recallAt10 >= task.concurrentRecall);
  const fastest = enough.sort((a, b) => b.queriesPerSecond - a.queriesPerSecond)[0];
  if (!fastest) return undefined;
  const setting = settings.find(({ parameter }) => parameter === fastest.parameter);
  let next = 0;
  const client = async () => {
    while (next < queries.length) await search(queries[next++], setting);
  };
  const rates = [];
  for (let round = 0; round < task.rounds; round++) {
    next = 0;
    const started = performance.now();
    await Promise.all(Array.from({ length: task.concurrency }, client));
    rates.push(queries.length / ((performance.now() - started) / 1000));
  }
  return { parameter: fastest.parameter, queriesPerSecond: Math.max(...rates) };
}
