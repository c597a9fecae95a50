/**
 * Writes to a collection and moves it from model to model until it is killed. Says on standard output what was acknowledged:
 *   {"wrote": documents}   {"flipped": fingerprint}
 * argv: data directory, seed.
 */
import { Collections } from '../../dist/index/collections.js';
import { createMetrics } from '../../dist/metrics.js';
import { MODELS, seededRandom, vectorOf } from './generation-model.mjs';

const [dataDir, seed] = [process.argv[2], Number(process.argv[3])];
const IDS = 300;
const random = seededRandom(seed);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const collections = await Collections.open({
  dataDir,
  metrics: createMetrics(),
  graphFrom: 50,
  tombstoneShareMax: 0.1,
  tombstonesMin: 10,
});
await (collections.has('docs') ? collections.get('docs') : collections.put('docs', {}, MODELS[0]));

async function write() {
  const collection = collections.get('docs');
  const ids = Array.from({ length: 1 + Math.floor(random() * 12) }, () => `d${Math.floor(random() * IDS)}`);
  const documents = [...new Set(ids)].map((id) => {
    const text = `${id} ${Math.floor(random() * 1e6)}`;
    return { id, text, vector: vectorOf(text, collection.model) };
  });
  try {
    await collection.upsert(documents);
    say({ wrote: documents.length });
  } catch (error) {
    if (error.code !== 'MODEL_MISMATCH') throw error;
  }
  if (random() > 0.3) return;
  const gone = Array.from({ length: 5 }, () => `d${Math.floor(random() * IDS)}`);
  await collection.delete({ ids: gone });
}

async function fill(next) {
  for (let rows = await next.waiting(16); rows.length > 0; rows = await next.waiting(16)) {
    await next.fill(rows.map(({ label, text }) => ({ label, vector: vectorOf(text, next.model) })));
  }
}

async function move() {
  const { generations } = collections;
  const { model, building } = collections.get('docs');
  const others = MODELS.filter(({ fingerprint }) => fingerprint !== model.fingerprint);
  const next = await generations.begin('docs', building?.model ?? others[Math.floor(random() * others.length)]);
  if (random() < 0.1) return generations.abandon('docs');
  await fill(next);
  await generations.takeOver([next], { finish: fill, commit: async () => {} });
  say({ flipped: next.model.fingerprint });
}

async function keepMoving() {
  for (;;) await move();
}
void keepMoving();
for (;;) await write();
