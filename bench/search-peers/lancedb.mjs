/**
 * LanceDB's embedded form, as a driver of bench/search.ts. usage: lancedb.mjs MODULES hnsw|pq build|serve FOLDER, MODULES a
 * folder whose node_modules has @lancedb/lancedb.
 *
 *   hnsw   IVF_HNSW_SQ of one partition, its default for this many rows: one HNSW graph of one byte a dimension
 *   pq     IVF_PQ with its defaults: lists of nearby vectors, codes of 4 bits
 *
 * Both take refineFactor x k candidates and score them again by full vectors, as we do; each breadth is tried with several
 * refine factors, and the curve takes the best. Rows are added 5,000 at once: each addition is a fragment of the table, and
 * many small ones make it slower.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { concurrentRate, curve, memory, metadataOf, msSinceSpawned, rowsOf, stopwatch, taskOf } from './driver.mjs';

const [modules, kind, mode, folder] = process.argv.slice(2);
const require = createRequire(join(modules, 'package.json'));
const lancedb = require('@lancedb/lancedb');
const task = taskOf(folder);
const { k, dimensions } = task;
const ROWS_AT_ONCE = 5000;

const INDEXES = {
  hnsw: () => lancedb.Index.hnswSq({ distanceType: 'dot', numPartitions: 1, m: 16, efConstruction: 200 }),
  pq: () => lancedb.Index.ivfPq({ distanceType: 'dot' }),
};
const REFINES = [1, 2, 4, 8];
const SETTINGS = {
  hnsw: task.ladder.flatMap((ef) =>
    REFINES.filter((refine) => refine * k <= ef).map((refine) => ({
      parameter: `${ef}, refine ${refine}`,
      ef,
      refine,
    })),
  ),
  pq: [2, 5, 10, 20, 50].flatMap((nprobes) =>
    [4, 8, 16].map((refine) => ({ parameter: `nprobes ${nprobes}, refine ${refine}`, nprobes, refine })),
  ),
};

/** Its package.json is not among what it exports. */
const versionOf = (name) =>
  JSON.parse(readFileSync(join(modules, 'node_modules', name, 'package.json'), 'utf8')).version;

async function build(db) {
  const base = rowsOf(join(folder, 'base.f32'), dimensions);
  const elapsed = stopwatch(base.length);
  let table;
  for (let first = 0; first < base.length; first += ROWS_AT_ONCE) {
    const rows = base.slice(first, first + ROWS_AT_ONCE).map((vector, at) => ({
      id: String(first + at),
      vector: Array.from(vector),
      ...metadataOf(first + at, vector),
    }));
    if (table) await table.add(rows);
    else table = await db.createTable('bench', rows);
  }
  await table.createIndex('vector', { config: INDEXES[kind]() });
  const { perSecond: vectorsPerSecond, processorMs } = elapsed();
  return { version: versionOf('@lancedb/lancedb'), vectorsPerSecond, processorMs };
}

async function serve(db) {
  const table = await db.openTable('bench');
  const queries = rowsOf(join(folder, 'queries.f32'), dimensions);
  const search = async (query, { ef, nprobes, refine }) => {
    const near = table.query().nearestTo(query).distanceType('dot').refineFactor(refine);
    const walk = ef === undefined ? near.nprobes(nprobes) : near.ef(ef);
    const rows = await walk.select(['id', '_distance']).limit(k).toArray();
    return rows.map(({ id }) => id);
  };
  const settings = SETTINGS[kind];
  await search(queries[0], settings[0]);
  const start = { startMs: msSinceSpawned(), startPeakBytes: memory('VmHWM') };
  const points = await curve(task, queries, settings, search);
  const concurrent = await concurrentRate(task, queries, { points, settings, search });
  return { ...start, points, concurrent, steadyBytes: memory('VmRSS') };
}

const db = await lancedb.connect(join(folder, 'db'));
console.log(JSON.stringify(await (mode === 'build' ? build(db) : serve(db))));
process.exit(0);
