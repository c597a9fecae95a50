/**
 * Serves a collection to a test over lines of JSON: {"upsert": id, "bytes": n}, {"get": id}, {"search": n}, {"backUp": true},
 * {"close": true}.
 * Each is answered by a line: {"ok": …} or {"code", "message"}.
 */
import { createInterface } from 'node:readline';
import { Collections } from '../../dist/index/collections.js';
import { createMetrics } from '../../dist/metrics.js';

const DIMENSIONS = 16;
const vectorOf = (n) => Float32Array.from({ length: DIMENSIONS }, (_, i) => Math.sin(n * (i + 1) + i));
const collections = await Collections.open({ dataDir: process.argv[2], metrics: createMetrics(), graphFrom: 50 });
const collection = await collections.put(
  'docs',
  {},
  { fingerprint: 'f'.repeat(64), id: 'test@1', dimensions: DIMENSIONS },
);

async function answer({ upsert, bytes = 0, get, search, backUp, close }) {
  if (upsert !== undefined) {
    const text = `document ${upsert} ${'x'.repeat(bytes)}`;
    return collection.upsert([{ id: `d${upsert}`, text, vector: vectorOf(upsert) }]);
  }
  if (get !== undefined) return (await collection.get([`d${get}`], [])).length;
  if (search !== undefined) {
    const request = { vector: vectorOf(search), k: 1, mode: 'dense', include: [] };
    return (await collection.search(request)).results[0]?.id;
  }
  if (backUp) return collections.backUp();
  if (close) {
    await collections.close();
    process.exit(0);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const reply = await answer(JSON.parse(line)).then(
    (ok) => ({ ok }),
    ({ code, message }) => ({ code, message }),
  );
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
