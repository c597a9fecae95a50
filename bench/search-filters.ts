/**
 * Filtered search against the exact answer: recall@10, latency and the way taken, for filters that 0.1%, 1%, 10% and 50% of
 * the vectors pass whatever the query, and for filters that only pass what is far from the query: each vector belongs to the
 * nearest of 20 vectors, and the filter names the groups whose vectors are the farthest from the query, half of them or two.
 *
 *   npm run bench -- search-filters --vectors DIR [--papers … --query-titles …] [--count 100000] [--queries 100]
 *     [--codes float32,int8,binary] [--keep]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Collection } from '../src/index/collection.js';
import type { Quantization } from '../src/index/collection-settings.js';
import { Collections } from '../src/index/collections.js';
import type { Filter } from '../src/index/filter.js';
import { createMetrics } from '../src/metrics.js';
import { keep, machine, quantile } from './report.js';
import { exactNearest } from './search-truth.js';
import { loadVectors, VECTOR_OPTIONS, vectorSource } from './search-vectors.js';

const { values } = parseArgs({
  options: {
    ...VECTOR_OPTIONS,
    queries: { type: 'string', default: '100' },
    codes: { type: 'string', default: 'float32,int8,binary' },
    keep: { type: 'boolean', default: false },
  },
});

const K = 10;
const GROUPS = 20;
const DOCUMENTS_AT_ONCE = 500;

const { base, queries, model } = await loadVectors(vectorSource(values));
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const mean = (numbers: readonly number[]): number => numbers.reduce((sum, n) => sum + n, 0) / numbers.length;

/** n is below 1 for every thousandth vector, and group is the nearest of the first 20. */
const metadata = base.map((vector, position) => ({
  n: (position * 7919) % 1000,
  group: exactNearest(base.slice(0, GROUPS), vector, 1)[0]!,
}));

interface Case {
  readonly filter: Filter;
  readonly passes: (position: number) => boolean;
}

const share = (thousandths: number) => (): Case => ({
  filter: { n: { $lt: thousandths } },
  passes: (position) => metadata[position]!.n < thousandths,
});

const farthest =
  (count: number) =>
  (query: Float32Array): Case => {
    const groups = exactNearest(base.slice(0, GROUPS), query, GROUPS).slice(GROUPS - count);
    return { filter: { group: { $in: groups } }, passes: (position) => groups.includes(metadata[position]!.group) };
  };

const CASES: Record<string, (query: Float32Array) => Case> = {
  '0.1%': share(1),
  '1%': share(10),
  '10%': share(100),
  '50%': share(500),
  'farthest 10 of 20 groups': farthest(10),
  'farthest 2 of 20 groups': farthest(2),
};

/** By case and query, once for all codes. */
const truths = Object.values(CASES).map((caseOf) =>
  queries.map((query) => exactNearest(base, query, K, caseOf(query).passes).map(String)),
);

async function filled(collections: Collections, quantization: Quantization): Promise<Collection> {
  const settings = { quantization, fullText: false, indexes: ['metadata.n', 'metadata.group'] };
  const collection = await collections.put(quantization, settings, model);
  for (let first = 0; first < base.length; first += DOCUMENTS_AT_ONCE) {
    const rows = base.slice(first, first + DOCUMENTS_AT_ONCE);
    await collection.upsert(
      rows.map((vector, at) => ({ id: String(first + at), vector, metadata: metadata[first + at]! })),
    );
  }
  while ((await collection.info()).index.backlog > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  return collection;
}

async function measure(collection: Collection, caseOf: (query: Float32Array) => Case, truth: readonly string[][]) {
  const recalls: number[] = [];
  const timesMs: number[] = [];
  const selectivities: number[] = [];
  const paths: Record<string, number> = {};
  for (const [n, vector] of queries.entries()) {
    const { filter } = caseOf(vector);
    const { results, timingsMs } = await collection.search({ vector, filter, k: K, mode: 'dense', include: [] });
    const right = truth[n]!;
    recalls.push(right.length === 0 ? 1 : results.filter(({ id }) => right.includes(id)).length / right.length);
    timesMs.push(timingsMs.total);
    selectivities.push(timingsMs.selectivity!);
    paths[timingsMs.path!] = (paths[timingsMs.path!] ?? 0) + 1;
  }
  const times = { p50Ms: quantile(timesMs, 0.5), p99Ms: quantile(timesMs, 0.99) };
  return { recallAt10: mean(recalls), worstRecall: Math.min(...recalls), ...times, share: mean(selectivities), paths };
}

say(`${base.length} vectors, ${queries.length} queries, ${JSON.stringify(machine())}`);
const outcome: Record<string, Record<string, object>> = {};
for (const quantization of values.codes.split(',') as Quantization[]) {
  const dataDir = mkdtempSync(join(tmpdir(), 'anchorage-bench-'));
  const collections = await Collections.open({ dataDir, metrics: createMetrics() });
  const collection = await filled(collections, quantization);
  outcome[quantization] = {};
  for (const [at, [name, caseOf]] of Object.entries(CASES).entries()) {
    const line = await measure(collection, caseOf, truths[at]!);
    outcome[quantization][name] = line;
    const times = `p50 ${line.p50Ms.toFixed(1)} ms p99 ${line.p99Ms.toFixed(1)} ms`;
    const recall = `${line.recallAt10.toFixed(4)} (worst ${line.worstRecall.toFixed(1)})`;
    say(
      `${quantization.padEnd(8)} ${name.padEnd(26)} ${recall} ${times} estimate ${(100 * line.share).toFixed(2)}% ${JSON.stringify(line.paths)}`,
    );
  }
  await collections.close();
  rmSync(dataDir, { recursive: true, force: true });
}
if (values.keep) say(keep('search-filters', { vectors: base.length, queries: queries.length, outcome }));
