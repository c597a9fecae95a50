/**
 * Anchorage's own collections, built, as a driver of bench/search.ts: Collection.upsert and Collection.search with messages
 * between threads, the commit to disk and the fetch of ids; no HTTP. usage: anchorage.mjs SETTINGS build|serve|start FOLDER,
 * SETTINGS as JSON of PUT /collections. `start` is `serve` without the curve.
 */
import { join } from 'node:path';
import { Collections } from '../../dist/index/collections.js';
import { createMetrics } from '../../dist/metrics.js';
import { VERSION } from '../../dist/version.js';
import { concurrentRate, curve, memory, metadataOf, msSinceSpawned, rowsOf, stopwatch, taskOf } from './driver.mjs';

const [given, mode, folder] = process.argv.slice(2);
const settings = { fullText: false, indexes: ['metadata.n'], ...JSON.parse(given) };
const task = taskOf(folder);
const { k } = task;
const DOCUMENTS_AT_ONCE = 500;

async function build(collections) {
  const collection = await collections.put('bench', settings, task.model);
  const base = rowsOf(join(folder, 'base.f32'), task.dimensions);
  const elapsed = stopwatch(base.length);
  for (let first = 0; first < base.length; first += DOCUMENTS_AT_ONCE) {
    const rows = base.slice(first, first + DOCUMENTS_AT_ONCE);
    await collection.upsert(
      rows.map((vector, at) => ({ id: String(first + at), vector, metadata: metadataOf(first + at, vector) })),
    );
  }
  const durablePerSecond = elapsed().perSecond;
  while ((await collection.info()).index.backlog > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  const { perSecond: vectorsPerSecond, processorMs } = elapsed();
  return { version: VERSION, vectorsPerSecond, processorMs, durablePerSecond, builtBytes: memory('VmRSS') };
}

/** @returns Served of search-contest.ts, and the path that the first answer took (exact where the graph is not there yet). */
async function serve(collections) {
  const collection = collections.get('bench');
  const queries = rowsOf(join(folder, 'queries.f32'), task.dimensions);
  const search = (vector, { efSearch }) =>
    collection.search({ vector, k, mode: 'dense', include: [], ...(efSearch ? { efSearch } : {}) });
  const { timingsMs } = await search(queries[0], {});
  const start = { startMs: msSinceSpawned(), startPeakBytes: memory('VmHWM'), firstPath: timingsMs.path };
  let curved = {};
  if (mode === 'serve') curved = await curveOf(queries, search);
  else for (const vector of queries) await search(vector, {});
  const { bytes } = (await collection.info()).index;
  return { ...start, ...curved, indexBytes: bytes, steadyBytes: memory('VmRSS') };
}

async function curveOf(queries, search) {
  const settings = task.ladder.map((efSearch) => ({ parameter: String(efSearch), efSearch }));
  const ids = async (vector, setting) => (await search(vector, setting)).results.map(({ id }) => id);
  const points = await curve(task, queries, settings, ids);
  return { points, concurrent: await concurrentRate(task, queries, { points, settings, search: ids }) };
}

const collections = await Collections.open({ dataDir: join(folder, 'db'), metrics: createMetrics() });
const outcome = await (mode === 'build' ? build(collections) : serve(collections));
await collections.close();
console.log(JSON.stringify(outcome));
