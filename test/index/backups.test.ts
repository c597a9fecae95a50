import { appendFileSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeBackup } from '../../src/index/backups.js';
import type { Collection } from '../../src/index/collection.js';
import { clusteredVectors, openCollections, temporaryFolder, testModel } from './fixtures.js';

const D = 16;
const MODEL = testModel(D);
const VECTORS = clusteredVectors(300, D, 31);
const QUERIES = clusteredVectors(10, D, 32);
const documents = (from: number, to: number) =>
  VECTORS.slice(from, to).map((vector, n) => ({ id: String(from + n), text: `number ${from + n}`, vector }));

async function answers(collection: Collection): Promise<unknown> {
  const search = (vector: Float32Array) =>
    collection.search({ vector, text: 'number', k: 10, mode: 'hybrid', include: ['text', 'metadata'] });
  return Promise.all(QUERIES.map(async (query) => (await search(query)).results));
}

test('a restored copy answers the same queries with the same results', async () => {
  const dataDir = temporaryFolder();
  const collections = await openCollections(dataDir, { graphFrom: 50 });
  const collection = await collections.put('docs', {}, MODEL);
  await collection.upsert(documents(0, 200));
  const before = await answers(collection);
  const { id } = await collections.backUp();
  await collection.upsert(documents(200, 300));
  await collection.delete({ ids: ['3', '4', '5'] });
  await collections.put('later', {}, MODEL);
  expect(await collections.backups()).toMatchObject([
    { id, collections: [{ name: 'docs', documents: 200, sequence: 1 }] },
  ]);

  await collections.restore(id);
  expect(await answers(collections.get('docs'))).toEqual(before);
  expect(collections.list().map(({ name }) => name)).toEqual(['docs']);
  await collections.get('docs').upsert(documents(250, 251));
  await collections.close();
  const again = await openCollections(dataDir, { graphFrom: 50 });
  expect(await again.get('docs').info()).toMatchObject({ documents: 201 });
});

test('a copy made under write load is one commit of the collection', async () => {
  const collections = await openCollections(temporaryFolder(), { graphFrom: 50 });
  const collection = await collections.put('docs', {}, MODEL);
  let writing = true;
  const writer = (async () => {
    for (let n = 0; writing; n = (n + 1) % 30) {
      await collection.upsert(documents(n * 10, n * 10 + 10).map((one) => ({ ...one, metadata: { group: n } })));
    }
  })();
  const { id } = await collections.backUp();
  writing = false;
  await writer;
  await collections.restore(id);
  const { documents: held } = await collections.get('docs').query({ limit: 1000 });
  const sizes = new Map<unknown, number>();
  for (const { metadata } of held) sizes.set(metadata!.group, (sizes.get(metadata!.group) ?? 0) + 1);
  expect([...sizes.values()].filter((size) => size !== 10)).toEqual([]);
});

test('a collection that is asked for while it is put back is the one that was put back', async () => {
  const collections = await openCollections(temporaryFolder(), { graphFrom: 50 });
  await (await collections.put('docs', {}, MODEL)).upsert(documents(0, 200));
  const { id } = await collections.backUp();
  await collections.get('docs').delete({ ids: ['3', '4', '5'] });
  const restoring = collections.restore(id);
  while (collections.has('docs')) await new Promise(setImmediate);
  const asked = await collections.put('docs', {}, MODEL);
  await restoring;
  expect(collections.get('docs')).toBe(asked);
  await asked.upsert(documents(200, 201));
  expect(await asked.info()).toMatchObject({ documents: 201, index: { vectors: 201 } });
  const { results } = await asked.search({ vector: VECTORS[3]!, k: 1, mode: 'dense', include: [] });
  expect(results).toMatchObject([{ id: '3' }]);
});

test('two restorations at once follow one another', async () => {
  const collections = await openCollections(temporaryFolder());
  const collection = await collections.put('docs', {}, MODEL);
  await collection.upsert(documents(0, 10));
  const { id: first } = await collections.backUp();
  await collection.upsert(documents(10, 20));
  const { id: second } = await collections.backUp();
  await Promise.all([collections.restore(first), collections.restore(second)]);
  expect(await collections.get('docs').info()).toMatchObject({ documents: 20 });
});

test('a collection that is deleted while a copy is made is in it whole, or not at all', async () => {
  const collections = await openCollections(temporaryFolder(), { graphFrom: 50 });
  const names = ['a', 'b', 'c', 'd'];
  for (const name of names) await (await collections.put(name, {}, MODEL)).upsert(documents(0, 100));
  const copying = collections.backUp();
  await Promise.all([...names].reverse().map((name) => collections.delete(name)));
  const { id, collections: held } = await copying;
  expect(held.length).toBeLessThan(names.length);
  await collections.restore(id);
  expect(collections.list().map(({ name }) => name)).toEqual(held.map(({ name }) => name));
  for (const collection of collections.list()) expect(await collection.info()).toMatchObject({ documents: 100 });
});

test('a copy that the disk refuses leaves nothing behind', async () => {
  const dataDir = temporaryFolder();
  const write = async (name: string, folder: string) => {
    appendFileSync(join(folder, 'documents.sqlite'), 'x');
    if (name === 'b') throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    return { name, documents: 1, sequence: 1 };
  };
  const made = makeBackup(dataDir, {
    id: '20260101T000000Z-abcdef',
    now: new Date(),
    names: ['a', 'b'],
    write,
  });
  await expect(made).rejects.toMatchObject({ code: 'STORAGE_FULL', message: expect.stringContaining('ENOSPC') });
  expect(readdirSync(join(dataDir, 'snapshots'))).toEqual([]);
});

test('a restoration that fails brings nothing back that was deleted, not after a restart either', async () => {
  const dataDir = temporaryFolder();
  const collections = await openCollections(dataDir);
  for (const name of ['a', 'b']) await (await collections.put(name, {}, MODEL)).upsert(documents(0, 10));
  const { id } = await collections.backUp();
  await collections.delete('a');
  // No file, so it cannot be copied.
  mkdirSync(join(dataDir, 'snapshots', id, 'collections', 'b', 'folder'));
  await expect(collections.restore(id)).rejects.toThrow();
  expect(readdirSync(join(dataDir, 'collections'))).toEqual(['b']);
  await collections.close();
  const again = await openCollections(dataDir);
  expect(again.list().map(({ name }) => name)).toEqual(['b']);
});

test('a damaged copy is refused, and nothing is touched', async () => {
  const dataDir = temporaryFolder();
  const collections = await openCollections(dataDir);
  const collection = await collections.put('docs', {}, MODEL);
  await collection.upsert(documents(0, 10));
  const { id } = await collections.backUp();
  appendFileSync(join(dataDir, 'snapshots', id, 'collections', 'docs', 'documents.sqlite'), 'x');
  await collection.upsert(documents(10, 20));
  await expect(collections.restore(id)).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringMatching(/damaged.*documents.sqlite/),
  });
  expect(await collection.info()).toMatchObject({ documents: 20 });
});

test.each(['none', '../../etc', '20260101T000000Z-abcdef'])('there is no copy %j', async (id) => {
  const collections = await openCollections(temporaryFolder());
  await expect(collections.restore(id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a restoration that a crash cut short between its renames is finished by the next start', async () => {
  const dataDir = temporaryFolder();
  const collections = await openCollections(dataDir);
  const collection = await collections.put('docs', {}, MODEL);
  await collection.upsert(documents(0, 10));
  await collections.close();
  const folder = join(dataDir, 'collections');
  renameSync(join(folder, 'docs'), join(folder, '.restored-docs'));
  mkdirSync(join(folder, '.replaced-docs'));
  const again = await openCollections(dataDir);
  expect(await again.get('docs').info()).toMatchObject({ documents: 10 });
});
