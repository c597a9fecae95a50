/**
 * Writes to a collection until it is killed. Says on standard output what it is about to do and what was acknowledged:
 *   {"doing": n, "upserts": {id: value}, "deletes": [id]}      {"done": n}
 * argv: data directory, seed.
 */
import { Collections } from '../../dist/index/collections.js';
import { createMetrics } from '../../dist/metrics.js';

const [dataDir, seed] = [process.argv[2], Number(process.argv[3])];
const DIMENSIONS = 16;
const IDS = 400;

let state = seed >>> 0;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 4294967296;
}

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const vectorOf = (value) => Float32Array.from({ length: DIMENSIONS }, (_, i) => Math.sin(value * (i + 1) + i));

const collections = await Collections.open({
  dataDir,
  metrics: createMetrics(),
  graphFrom: 50,
  tombstoneShareMax: 0.1,
});
const model = { fingerprint: 'f'.repeat(64), id: 'test@1', dimensions: DIMENSIONS };
const collection = await collections.put('docs', {}, model);

async function write(n) {
  const upserts = {};
  const deletes = [];
  for (let i = 0; i < 1 + Math.floor(random() * 20); i++) {
    upserts[`d${Math.floor(random() * IDS)}`] = Math.floor(random() * 1e6);
  }
  if (random() < 0.4) for (let i = 0; i < 10; i++) deletes.push(`d${Math.floor(random() * IDS)}`);
  say({ doing: n, upserts, deletes });
  const documents = Object.entries(upserts).map(([id, value]) => ({
    id,
    text: `value ${value}`,
    vector: vectorOf(value),
    metadata: { value },
  }));
  await collection.upsert(documents);
  if (deletes.length > 0) await collection.delete({ ids: deletes });
  say({ done: n });
}

for (let n = 0; ; n++) {
  await write(n);
  if (random() < 0.05) await collection.compact();
}
