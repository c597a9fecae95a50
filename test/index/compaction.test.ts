import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { clusteredVectors, nearest, openCollections, temporaryFolder, testModel } from './fixtures.js';

const D = 16;
const MODEL = testModel(D);
const VECTORS = clusteredVectors(600, D, 9);
const SECRETS = ['xylophonist', 'qwertzuiop'];

function filesWith(folder: string, needle: string | Buffer): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(needle))
    .map(({ name }) => name);
}

test('after compaction a deleted document is in no file: not its text, words, metadata, id or vector', async () => {
  const dataDir = temporaryFolder();
  const collections = await openCollections(dataDir, { graphFrom: 50 });
  const collection = await collections.put('docs', { indexes: ['metadata.owner'] }, MODEL);
  const secret = {
    id: 'id-of-qwertzuiop',
    text: 'The xylophonist played on.',
    metadata: { owner: 'qwertzuiop' },
    vector: VECTORS[0]!,
  };
  const others = VECTORS.slice(1).map((vector, n) => ({
    id: `d${n}`,
    text: `number ${n}`,
    vector,
    metadata: { owner: n },
  }));
  await collection.upsert([secret, ...others]);
  const vectorBytes = Buffer.from(VECTORS[0]!.buffer);
  for (const needle of [...SECRETS, vectorBytes]) expect(filesWith(dataDir, needle)).not.toEqual([]);

  await collection.delete({ ids: [secret.id] });
  await collection.compact();
  for (const needle of [...SECRETS, vectorBytes]) expect(filesWith(dataDir, needle)).toEqual([]);

  await collections.close();
  for (const needle of [...SECRETS, vectorBytes]) expect(filesWith(dataDir, needle)).toEqual([]);
});

test('a graph with too many tombstones is built anew while searches and writes go on', async () => {
  const collections = await openCollections(temporaryFolder(), {
    graphFrom: 50,
    tombstoneShareMax: 0.3,
    tombstonesMin: 10,
  });
  const collection = await collections.put('docs', {}, MODEL);
  await collection.upsert(VECTORS.map((vector, n) => ({ id: String(n), vector })));
  const live = new Set(VECTORS.keys());
  for (let n = 0; n < 450; n++) {
    const removed = collection.delete({ ids: [String(n)] });
    const { results } = await collection.search({ vector: VECTORS[n + 1]!, k: 1, mode: 'dense', include: [] });
    await removed;
    live.delete(n);
    expect(results[0]!.id).toBe(String(n + 1));
  }
  await collection.compact();
  const { index } = await collection.info();
  expect(index).toMatchObject({ vectors: 150, graphNodes: 150, tombstones: 0, backlog: 0 });
  expect(index.rebuilds).toBeGreaterThan(0);
  const left = [...live];
  for (const query of clusteredVectors(5, D, 10)) {
    const { results } = await collection.search({ vector: query, k: 10, mode: 'dense', efSearch: 150, include: [] });
    const expected = nearest(
      left.map((n) => VECTORS[n]!),
      query,
      10,
    ).map((at) => String(left[at]));
    expect(results.map(({ id }) => id)).toEqual(expected);
  }
});

test('an upsert that goes round and round leaves one document, and compaction leaves one node each', async () => {
  const collections = await openCollections(temporaryFolder(), { graphFrom: 50 });
  const collection = await collections.put('docs', {}, MODEL);
  for (let round = 0; round < 5; round++) {
    await collection.upsert(
      VECTORS.slice(0, 100).map((_, n) => ({ id: String(n), vector: VECTORS[(n + round * 100) % 600]! })),
    );
  }
  await collection.compact();
  expect(await collection.info()).toMatchObject({ documents: 100, index: { graphNodes: 100, tombstones: 0 } });
  const { results } = await collection.search({ vector: VECTORS[400]!, k: 3, mode: 'dense', include: [] });
  expect(results[0]).toMatchObject({ id: '0', score: expect.closeTo(1, 5) });
});
