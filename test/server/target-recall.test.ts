import { afterAll, beforeAll, expect, test } from 'vitest';
import { openRealApp, type RealApp } from './real-app.js';

const VECTORS = 6_000;
const DIMENSIONS = 384;
/** One in eight is sampled, and twenty samples are needed to tune; see recall-watch.ts. */
const SEARCHES = 240;
const TARGET = 0.99;
const WAIT_MS = 60_000;

let real: RealApp;
beforeAll(async () => {
  real = await openRealApp();
});
afterAll(() => real.close());

async function ask(method: 'GET' | 'POST' | 'PUT', url: string, payload?: object) {
  const response = await real.app.inject({ method, url, ...(payload ? { payload } : {}) });
  expect(response.statusCode, response.body.slice(0, 300)).toBe(200);
  return response.json();
}

let state = 1;
/** Of no structure: the hardest there is for a graph, whose default breadth misses a third of the nearest. */
function randomVector(): number[] {
  return Array.from({ length: DIMENSIONS }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
}

const indexOf = async () => (await ask('GET', '/collections/tuned')).index;

async function until(holds: (index: { backlog: number; graphNodes: number; efSearch: number }) => boolean) {
  await expect.poll(async () => holds(await indexOf()), { timeout: WAIT_MS, interval: 100 }).toBe(true);
}

const idsOf = async (vector: number[], exact: boolean): Promise<string[]> => {
  const search = { collection: 'tuned', vector, include: [], ...(exact ? { exact } : {}) };
  return (await ask('POST', '/search', search)).results.map(({ id }: { id: string }) => id);
};

async function meanRecall(queries: readonly number[][]): Promise<number> {
  let found = 0;
  for (const query of queries) {
    const truth = await idsOf(query, true);
    found += (await idsOf(query, false)).filter((id) => truth.includes(id)).length / truth.length;
  }
  return found / queries.length;
}

test('a collection that is asked for a recall finds the breadth that reaches it, from its own queries', {
  timeout: 4 * WAIT_MS,
}, async () => {
  await ask('PUT', '/collections/tuned', { targetRecall: TARGET, fullText: false, m: 16 });
  for (let first = 0; first < VECTORS; first += 500) {
    const documents = Array.from({ length: 500 }, (_, n) => ({ id: String(first + n), vector: randomVector() }));
    await ask('POST', '/documents', { collection: 'tuned', documents });
  }
  await until(({ backlog, graphNodes }) => backlog === 0 && graphNodes === VECTORS);
  const judged = Array.from({ length: 50 }, randomVector);
  const before = await indexOf();
  expect(await meanRecall(judged)).toBeLessThan(0.95);

  for (let n = 0; n < SEARCHES; n++) await idsOf(randomVector(), false);
  await until(({ efSearch }) => efSearch > before.efSearch);

  // The breadth is found sample by sample, in idle time: the first answer is not the last.
  await expect.poll(() => meanRecall(judged), { timeout: WAIT_MS, interval: 500 }).toBeGreaterThan(0.98);
  const { efSearch } = await indexOf();
  const { timingsMs } = await ask('POST', '/search', { collection: 'tuned', vector: judged[0]!, include: [] });
  expect(timingsMs).toMatchObject({ path: 'hnsw', efSearch });
});
