/**
 * LanceDB's embedded form on the vectors of bench/search.ts. argv: a folder whose node_modules has @lancedb/lancedb, and the
 * folder with base.f32, queries.f32, truth.json. Index: IVF_HNSW_SQ of one partition (its HNSW), candidates rescored by
 * full vectors (refineFactor), as ours are.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const K = 10;
const LADDER = [10, 16, 32, 64, 128, 256];
const [modules, folder] = process.argv.slice(2);
const require = createRequire(join(modules, 'package.json'));
const lancedb = require('@lancedb/lancedb');
const { dimensions, truth, rounds } = JSON.parse(readFileSync(join(folder, 'truth.json'), 'utf8'));

function rowsOf(name) {
  const { buffer, byteOffset, byteLength } = readFileSync(join(folder, name));
  const all = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
  return Array.from({ length: all.length / dimensions }, (_, n) => all.subarray(n * dimensions, (n + 1) * dimensions));
}

const quantile = (values, fraction) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * fraction))];
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

async function measure(table, queries, ef) {
  const timesMs = [];
  const recalls = [];
  for (const [n, query] of queries.entries()) {
    const started = performance.now();
    const found = await table
      .search(query)
      .distanceType('dot')
      .ef(ef)
      .refineFactor(2)
      .select(['id'])
      .limit(K)
      .toArray();
    timesMs.push(performance.now() - started);
    recalls.push(found.filter(({ id }) => truth[n].includes(id)).length / truth[n].length);
  }
  return {
    parameter: ef,
    recallAt10: mean(recalls),
    queriesPerSecond: 1000 / mean(timesMs),
    p50Ms: quantile(timesMs, 0.5),
    p99Ms: quantile(timesMs, 0.99),
  };
}

const home = mkdtempSync(join(tmpdir(), 'lancedb-'));
const base = rowsOf('base.f32');
const queries = rowsOf('queries.f32');
const db = await lancedb.connect(home);
const started = performance.now();
let table;
for (let first = 0; first < base.length; first += 5000) {
  const rows = base
    .slice(first, first + 5000)
    .map((vector, n) => ({ id: String(first + n), vector: Array.from(vector) }));
  if (table) await table.add(rows);
  else table = await db.createTable('bench', rows);
}
await table.createIndex('vector', {
  config: lancedb.Index.hnswSq({ distanceType: 'dot', numPartitions: 1, m: 16, efConstruction: 200 }),
});
const vectorsPerSecond = base.length / ((performance.now() - started) / 1000);
const best = new Map();
for (let round = 0; round < rounds; round++) {
  for (const ef of LADDER) {
    const point = await measure(table, queries, ef);
    if (point.queriesPerSecond > (best.get(ef)?.queriesPerSecond ?? 0)) best.set(ef, point);
  }
}
console.log(JSON.stringify({ vectorsPerSecond, points: [...best.values()] }));
rmSync(home, { recursive: true, force: true });
process.exit(0);
