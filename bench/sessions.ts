/**
 * How many sessions, with how many threads in each: a bare onnxruntime-node loop with one single-threaded session, with one
 * a core, and with one session whose operators share all cores; and HTTP with one worker and with one a core. Interleaved
 * rounds over the same texts; ratios are of each round.
 *
 *   npm run bench -- sessions [--rounds 5 --scale 0.5 --model NAME@VERSION --keep]
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import type { Manifest } from '../src/model/manifest.js';
import { TextTokenizer } from '../src/model/tokenizer.js';
import { openBareLoop } from './bare-loop.js';
import { overHttp } from './peers/server-peer.js';
import { printTable } from './peers/table.js';
import { makeTexts } from './peers/workloads.js';
import { keep, machine, median } from './report.js';
import { startServer } from './server-process.js';

const TEXTS_PER_REQUEST = 128;
const cores = availableParallelism();
const defaults = readConfig({ argv: [], env: {} }) as Config;
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    scale: { type: 'string', default: '0.5' },
    model: { type: 'string', default: defaults.model },
    keep: { type: 'boolean', default: false },
  },
});

const [name, version] = values.model.split('@') as [string, string];
const folder = join(fileURLToPath(new URL('../models/', import.meta.url)), name, version);
const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest;
const tokenizer = await TextTokenizer.load(folder);
const texts = await makeTexts(Number(values.scale), folder);

/** One way of running: seconds for all texts of a round. */
interface Way {
  readonly name: string;
  readonly run: (round: readonly string[]) => Promise<number>;
}

const bare = (name: string, workers: number, threadsPerWorker: number): Way => ({
  name,
  run: async (round) => {
    const ids = round.map((text) => tokenizer.cut(text, manifest.maxTokens, 'right').ids);
    const { batchTokensMax } = defaults;
    const loop = await openBareLoop(ids, {
      ...{ folder, manifest, engine: 'onnxruntime', workers, threadsPerWorker, batchTokensMax },
    });
    await loop.run();
    const seconds = await loop.run();
    await loop.close();
    return seconds;
  },
});

const servers = await Promise.all(
  [1, cores].map(async (workers) => {
    const server = await startServer('--model', values.model, '--workers', String(workers), '--cache-bytes-max', '0');
    const stop = async (): Promise<void> => void (await server.close());
    const open = overHttp({ url: server.url, model: values.model }, server.child.pid!, stop);
    const way: Way = {
      name: `HTTP, ${workers} worker${workers > 1 ? 's' : ''}`,
      run: (round) => open.bulk(round, TEXTS_PER_REQUEST),
    };
    return { way, open };
  }),
);
const ways = [
  bare('1 session of 1 thread', 1, 1),
  bare(`${cores} sessions of 1 thread`, cores, 1),
  bare(`1 session of ${cores} threads`, 1, cores),
  ...servers.map(({ way }) => way),
];

const results: Record<string, Record<string, number[]>> = {};
for (const workload of texts.bulk.filter(({ name }) => name !== 'repeated titles')) {
  const rates: Record<string, number[]> = Object.fromEntries(ways.map((way) => [way.name, []]));
  for (const way of ways) await way.run(workload.texts(0));
  for (let round = 1; round <= Number(values.rounds); round++) {
    const all = workload.texts(round);
    for (const way of ways) rates[way.name]!.push(all.length / (await way.run(all)));
  }
  results[workload.name] = rates;
}
await Promise.all(servers.map(({ open }) => open.close()));

const ratio = (over: readonly number[], under: readonly number[]): string =>
  median(over.map((rate, round) => rate / under[round]!)).toFixed(2);
printTable(
  'texts a second, medians',
  ['', ...ways.map((way) => way.name)],
  Object.entries(results).map(([workload, rates]) => [
    workload,
    ...ways.map((way) => median(rates[way.name]!).toFixed(0)),
  ]),
);
printTable(
  'medians of the ratios within rounds',
  ['', 'sessions/threads', `1 to ${cores} cores, bare`, `1 to ${cores} workers, HTTP`, 'HTTP/bare'],
  Object.entries(results).map(([workload, rates]) => {
    const [one, many, threads, httpOne, httpMany] = ways.map((way) => rates[way.name]!);
    return [
      workload,
      ...[ratio(many!, threads!), ratio(many!, one!), ratio(httpMany!, httpOne!), ratio(httpMany!, many!)],
    ];
  }),
);
console.log(`${JSON.stringify(machine())} load average ${loadavg()[0]!.toFixed(1)}`);
if (values.keep) console.log(`kept in ${keep('sessions', { model: values.model, load: loadavg()[0], results })}`);
