/**
 * The index on real embeddings: build rate, recall@10 against queries a second along efSearch, latencies, memory, start
 * time and filters, for each kind of code; beside Chroma and LanceDB on the same vectors in the same run. Searches go one
 * by one through Collection.search, message to the searching thread and fetch of the ids included.
 *
 *   npm run bench:index -- --vectors FILE.f32 [--texts FILE.jsonl.gz] [--count 100000] [--queries 500]
 *     [--codes float32,int8,binary] [--chroma-python PATH] [--lancedb-modules DIR] [--keep]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Collection } from '../src/index/collection.js';
import type { Quantization } from '../src/index/collection-settings.js';
import { Collections } from '../src/index/collections.js';
import type { Filter } from '../src/index/filter.js';
import type { SearchRequest } from '../src/index/search-types.js';
import { createMetrics } from '../src/metrics.js';
import { keep, machine, quantile } from './report.js';
import { loadVectors } from './search-vectors.js';

const { values } = parseArgs({
  options: {
    vectors: { type: 'string', default: '/tmp/anchorage-bench-search.f32' },
    texts: { type: 'string', default: '' },
    dimensions: { type: 'string', default: '384' },
    count: { type: 'string', default: '100000' },
    queries: { type: 'string', default: '500' },
    codes: { type: 'string', default: 'float32,int8,binary' },
    'chroma-python': { type: 'string', default: '' },
    'lancedb-modules': { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
  },
});

const K = 10;
const ROUNDS = 3;
const LADDER = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
const FILTERS: Record<string, Filter> = {
  '0.1%': { n: { $lt: 1 } },
  '1%': { n: { $lt: 10 } },
  '10%': { n: { $lt: 100 } },
  '50%': { n: { $lt: 500 } },
};

interface Point {
  readonly parameter: number;
  readonly recallAt10: number;
  readonly queriesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const { base, queries, dimensions } = await loadVectors({
  file: values.vectors,
  texts: values.texts,
  dimensions: Number(values.dimensions),
  count: Number(values.count),
  queries: Number(values.queries),
});
const model = { fingerprint: 'f'.repeat(64), id: 'bench@1', dimensions };
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const recall = (found: readonly string[], truth: readonly string[]): number =>
  truth.length === 0 ? 1 : found.filter((id) => truth.includes(id)).length / truth.length;
const mean = (numbers: readonly number[]): number => numbers.reduce((sum, n) => sum + n, 0) / numbers.length;

/** Returns vectors made durable and linked into the graph, a second. */
async function fill(collection: Collection): Promise<number> {
  const started = performance.now();
  for (let first = 0; first < base.length; first += 500) {
    await collection.upsert(
      base.slice(first, first + 500).map((vector, at) => {
        const n = first + at;
        return { id: String(n), vector, metadata: { n: (n * 7919) % 1000, side: vector[0]! > 0 ? 'right' : 'left' } };
      }),
    );
  }
  while ((await collection.info()).index.backlog > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  return base.length / ((performance.now() - started) / 1000);
}

async function ids(
  collection: Collection,
  request: Partial<SearchRequest> & { vector: Float32Array },
): Promise<string[]> {
  const { results } = await collection.search({ k: K, mode: 'dense', include: [], ...request });
  return results.map(({ id }) => id);
}

async function pointAt(collection: Collection, efSearch: number, truth: readonly string[][]): Promise<Point> {
  const timesMs: number[] = [];
  const recalls: number[] = [];
  for (const [n, vector] of queries.entries()) {
    const started = performance.now();
    const found = await ids(collection, { vector, efSearch });
    timesMs.push(performance.now() - started);
    recalls.push(recall(found, truth[n]!));
  }
  return {
    parameter: efSearch,
    recallAt10: mean(recalls),
    queriesPerSecond: 1000 / mean(timesMs),
    p50Ms: quantile(timesMs, 0.5),
    p99Ms: quantile(timesMs, 0.99),
  };
}

/** Rounds over the whole ladder rather than one breadth after another; of each breadth the fastest round counts. */
async function curve(collection: Collection, truth: readonly string[][]): Promise<Point[]> {
  const best = new Map<number, Point>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const efSearch of LADDER) {
      const point = await pointAt(collection, efSearch, truth);
      if (point.queriesPerSecond > (best.get(efSearch)?.queriesPerSecond ?? 0)) best.set(efSearch, point);
    }
  }
  return [...best.values()];
}

/** Selectivities, and the hard case: only documents on the other side of the query's strongest direction. */
async function filtered(collection: Collection): Promise<object> {
  const outcome: Record<string, object> = {};
  const measure = async (name: string, filterOf: (vector: Float32Array) => Filter): Promise<void> => {
    const recalls: number[] = [];
    const timesMs: number[] = [];
    const paths = new Map<string, number>();
    for (const vector of queries.slice(0, 100)) {
      const filter = filterOf(vector);
      const truth = await ids(collection, { vector, filter, exact: true });
      const answer = await collection.search({ vector, filter, k: K, mode: 'dense', include: [] });
      recalls.push(
        recall(
          answer.results.map(({ id }) => id),
          truth,
        ),
      );
      timesMs.push(answer.timingsMs.total);
      paths.set(answer.timingsMs.path!, (paths.get(answer.timingsMs.path!) ?? 0) + 1);
    }
    outcome[name] = {
      recallAt10: mean(recalls),
      p50Ms: quantile(timesMs, 0.5),
      p99Ms: quantile(timesMs, 0.99),
      paths: Object.fromEntries(paths),
    };
    say(`  filter ${name.padEnd(8)} ${JSON.stringify(outcome[name])}`);
  };
  for (const [name, filter] of Object.entries(FILTERS)) await measure(name, () => filter);
  await measure('far side', (vector) => ({ side: vector[0]! > 0 ? 'left' : 'right' }));
  return outcome;
}

function show(name: string, points: readonly Point[]): void {
  say(`  ${name}: parameter, recall@10, queries/s, p50 ms, p99 ms`);
  for (const { parameter, recallAt10, queriesPerSecond, p50Ms, p99Ms } of points) {
    say(
      `  ${String(parameter).padStart(5)} ${recallAt10.toFixed(4)} ${queriesPerSecond.toFixed(0).padStart(6)} ${p50Ms.toFixed(2)} ${p99Ms.toFixed(2)}`,
    );
  }
}

async function ours(quantization: Quantization, truth: string[][]): Promise<object> {
  const dataDir = mkdtempSync(join(tmpdir(), 'anchorage-bench-'));
  const open = (): Promise<Collections> => Collections.open({ dataDir, metrics: createMetrics() });
  let collections = await open();
  const settings = { quantization, fullText: false, indexes: ['metadata.n'] };
  const vectorsPerSecond = await fill(await collections.put('bench', settings, model));
  let collection = collections.get('bench');
  if (truth.length === 0) for (const vector of queries) truth.push(await ids(collection, { vector, exact: true }));
  const points = await curve(collection, truth);
  const { bytes } = (await collection.info()).index;
  say(
    `anchorage ${quantization}: ${vectorsPerSecond.toFixed(0)} vectors/s made durable and linked, ${(bytes / 1e6).toFixed(0)} MB`,
  );
  show(`anchorage ${quantization}`, points);
  const filters = await filtered(collection);

  await collections.close();
  const withSnapshot = performance.now();
  collections = await open();
  collection = collections.get('bench');
  await ids(collection, { vector: queries[0]! });
  const startMs = performance.now() - withSnapshot;
  const path = (await collection.search({ vector: queries[0]!, k: K, mode: 'dense', include: [] })).timingsMs.path;
  say(`  start with snapshot: first answer after ${startMs.toFixed(0)} ms (${path})`);
  await collections.close();

  const snapshotBytes = statSync(join(dataDir, 'collections', 'bench', 'graph-1.snapshot')).size;
  rmSync(join(dataDir, 'collections', 'bench', 'graph-1.snapshot'));
  const without = performance.now();
  collections = await open();
  await ids(collections.get('bench'), { vector: queries[0]! });
  const startWithoutSnapshotMs = performance.now() - without;
  say(`  start without: first (exact) answer after ${startWithoutSnapshotMs.toFixed(0)} ms`);
  await collections.close();
  rmSync(dataDir, { recursive: true, force: true });
  return {
    vectorsPerSecond,
    bytes,
    snapshotBytes,
    bytesAMillion: (bytes / base.length) * 1e6,
    points,
    filters,
    startMs,
    startWithoutSnapshotMs,
  };
}

/** A peer's script reads the rows, the queries and the truth, and prints one JSON object {build, points, …}. */
function peer(command: string, args: readonly string[], truth: readonly string[][]): object {
  const folder = mkdtempSync(join(tmpdir(), 'anchorage-peer-'));
  const raw = (rows: readonly Float32Array[]): Buffer =>
    Buffer.concat(rows.map((row) => Buffer.from(row.buffer, row.byteOffset, row.byteLength)));
  writeFileSync(join(folder, 'base.f32'), raw(base));
  writeFileSync(join(folder, 'queries.f32'), raw(queries));
  writeFileSync(join(folder, 'truth.json'), JSON.stringify({ dimensions, rounds: ROUNDS, truth }));
  const { stdout, stderr, status } = spawnSync(command, [...args, folder], { encoding: 'utf8', maxBuffer: 1e8 });
  rmSync(folder, { recursive: true, force: true });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as object;
}

const here = (name: string): string => fileURLToPath(new URL(`./search-peers/${name}`, import.meta.url));
const result: Record<string, unknown> = { count: base.length, queries: queries.length, dimensions };
const truth: string[][] = [];
say(`${base.length} vectors, ${queries.length} queries, ${JSON.stringify(machine())}`);
for (const codes of values.codes.split(',')) result[`anchorage ${codes}`] = await ours(codes as Quantization, truth);
const peers: Record<string, () => object> = {
  ...(values['chroma-python'] ? { chroma: () => peer(values['chroma-python'], [here('chroma.py')], truth) } : {}),
  ...(values['lancedb-modules']
    ? { lancedb: () => peer(process.execPath, [here('lancedb.mjs'), values['lancedb-modules']], truth) }
    : {}),
};
for (const [name, run] of Object.entries(peers)) {
  const outcome = run() as { vectorsPerSecond: number; points: Point[] };
  result[name] = outcome;
  say(`${name}: ${outcome.vectorsPerSecond.toFixed(0)} vectors/s`);
  show(name, outcome.points);
}
if (values.keep) say(keep('search', result));
