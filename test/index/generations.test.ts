import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import type { Collections } from '../../src/index/collections.js';
import { collectionFile } from '../../src/index/data-directory.js';
import type { NextGeneration } from '../../src/index/next-generation.js';
import { normalized, openCollections, seededRandom, temporaryFolder, testModel } from './fixtures.js';

const OLD = testModel(16, '1');
const NEW = testModel(24, '2');
const OPTIONS = { graphFrom: 50, tombstoneShareMax: 0.2, tombstonesMin: 10 };

/** What a model makes of a text: another vector, and another number of dimensions, for another model. */
function vectorOf(text: string, { id, dimensions }: { id: string; dimensions: number }): Float32Array {
  const random = seededRandom([...`${id} ${text}`].reduce((hash, c) => (hash * 31 + c.charCodeAt(0)) | 0, 7));
  return normalized(Float32Array.from({ length: dimensions }, () => random() - 0.5));
}

const textOf = (n: number): string => `the text of document ${n}`;
const document = (n: number, model = OLD) => ({
  id: String(n),
  text: textOf(n),
  vector: vectorOf(textOf(n), model),
  metadata: { n },
});
const numbers = (count: number, first = 0): number[] => Array.from({ length: count }, (_, n) => first + n);

async function fill(next: NextGeneration, groups = Number.POSITIVE_INFINITY): Promise<void> {
  for (let group = 0; group < groups; group++) {
    const rows = await next.waiting(32);
    if (rows.length === 0) return;
    await next.fill(rows.map(({ label, text }) => ({ label, vector: vectorOf(text!, next.model) })));
  }
}

const takeOver = (collections: Collections, next: NextGeneration, commit = async () => {}): Promise<void> =>
  collections.generations.takeOver([next], { finish: fill, commit });

/** Every number is found first by its own vector of that model, and nothing else is there. */
async function expectSearchable(collections: Collections, model: typeof OLD, expected: readonly number[]) {
  const collection = collections.get('docs');
  expect(collection.model).toEqual(model);
  const { documents, index } = await collection.info();
  expect({ documents, vectors: index.vectors }).toEqual({ documents: expected.length, vectors: expected.length });
  for (const n of expected.filter((one) => one % 7 === 0)) {
    const request = { vector: vectorOf(textOf(n), model), k: 3, mode: 'dense', include: ['vector'] } as const;
    const { results } = await collection.search(request);
    expect(results[0]).toMatchObject({ id: String(n), score: expect.closeTo(1, 5) });
    expect(results[0]!.vector!.length).toBe(model.dimensions);
  }
}

async function filled(dataDir: string, count: number): Promise<Collections> {
  const collections = await openCollections(dataDir, OPTIONS);
  const collection = await collections.put('docs', {}, OLD);
  await collection.upsert(numbers(count).map((n) => document(n)));
  return collections;
}

const tables = (dataDir: string): string[] => {
  const db = new Database(collectionFile(dataDir, 'docs'), { readonly: true });
  const names = db.prepare(`SELECT name FROM sqlite_schema WHERE name GLOB 'vectors_*' ORDER BY name`).pluck().all();
  db.close();
  return names as string[];
};

test('another model takes over while documents come, change and go, and can be gone back from', async () => {
  const dataDir = temporaryFolder();
  const collections = await filled(dataDir, 300);
  const collection = collections.get('docs');
  const next = await collections.generations.begin('docs', NEW);
  await fill(next, 4);
  expect(await collection.info()).toMatchObject({
    generation: 1,
    building: { generation: 2, model: NEW, filled: 128, waiting: 172 },
  });
  await expectSearchable(collections, OLD, numbers(300));

  // 0-9 are vectors that the new generation has, 200-209 are some that it has not.
  await collection.delete({ ids: [...numbers(10), ...numbers(10, 200)].map(String) });
  await collection.upsert([...numbers(20, 300), ...numbers(10, 50)].map((n) => document(n)));
  await collection.patchMetadata({ ids: ['60', '250'] }, { patched: true });
  const left = numbers(320).filter((n) => n >= 10 && (n < 200 || n >= 210));
  await expectSearchable(collections, OLD, left);

  await takeOver(collections, next);
  await expectSearchable(collections, NEW, left);
  expect((await collections.get('docs').get(['60', '250'])).map(({ metadata }) => metadata)).toEqual([
    { n: 60, patched: true },
    { n: 250, patched: true },
  ]);
  expect(tables(dataDir)).toEqual(['vectors_1', 'vectors_2']);

  await collections.get('docs').upsert(numbers(5, 400).map((n) => document(n, NEW)));
  await collections.get('docs').delete({ ids: ['11'] });
  const back = await collections.generations.begin('docs', OLD);
  expect(back.generation).toBe(1);
  expect(await back.state()).toMatchObject({ waiting: 5 });
  await takeOver(collections, back);
  await expectSearchable(
    collections,
    OLD,
    [...left, ...numbers(5, 400)].filter((n) => n !== 11),
  );
});

test('who searches in the generation before goes on, and who writes for it is refused', async () => {
  const collections = await filled(temporaryFolder(), 100);
  const before = collections.get('docs');
  await takeOver(collections, await collections.generations.begin('docs', NEW));
  const { results } = await before.search({ vector: vectorOf(textOf(3), OLD), k: 1, mode: 'dense', include: [] });
  expect(results[0]).toMatchObject({ id: '3', score: expect.closeTo(1, 5) });
  await expect(before.upsert([document(500)])).rejects.toMatchObject({ code: 'MODEL_MISMATCH' });
  expect(await collections.get('docs').get(['500'])).toEqual([]);
});

test('upserts that come at the moment of taking over wait, and are told that the model changed', async () => {
  const collections = await filled(temporaryFolder(), 60);
  const before = collections.get('docs');
  let late: Promise<unknown> | undefined;
  const commit = async (): Promise<void> => {
    late = before.upsert([document(700)]);
    late.catch(() => {});
    expect(await Promise.race([late, new Promise((resolve) => setTimeout(resolve, 50, 'held'))])).toBe('held');
  };
  await takeOver(collections, await collections.generations.begin('docs', NEW), commit);
  await expect(late).rejects.toMatchObject({ code: 'MODEL_MISMATCH' });
});

test('a take-over whose commit fails changes nothing', async () => {
  const collections = await filled(temporaryFolder(), 60);
  const next = await collections.generations.begin('docs', NEW);
  const commit = async (): Promise<void> => {
    throw new Error('no');
  };
  await expect(takeOver(collections, next, commit)).rejects.toThrow('no');
  await collections.get('docs').upsert([document(60)]);
  await expectSearchable(collections, OLD, numbers(61));
  await takeOver(collections, next);
  await expectSearchable(collections, NEW, numbers(61));
});

test('a collection that is deleted while others take over is passed over, and a new one is not taken for it', async () => {
  const collections = await filled(temporaryFolder(), 60);
  const make = (name: string) => collections.put(name, {}, OLD);
  for (const name of ['gone', 'anew', 'late']) await (await make(name)).upsert([document(1)]);
  const nexts: NextGeneration[] = [];
  for (const { name } of collections.list()) nexts.push(await collections.generations.begin(name, NEW));
  await Promise.all(['gone', 'anew'].map((name) => collections.delete(name)));
  await (await make('anew')).upsert([document(2)]);
  let deleting: Promise<boolean> | undefined;
  const finish = (next: NextGeneration): Promise<void> => {
    deleting ??= collections.delete('late');
    return fill(next);
  };
  await collections.generations.takeOver(nexts, { finish, commit: async () => {} });
  await expectSearchable(collections, NEW, numbers(60));
  expect(await deleting).toBe(true);
  expect(collections.list().map(({ name, model }) => [name, model.id])).toEqual([
    ['docs', NEW.id],
    ['anew', OLD.id],
  ]);
});

test('a build goes on after a restart, and is given up without a trace', async () => {
  const dataDir = temporaryFolder();
  const first = await filled(dataDir, 200);
  await fill(await first.generations.begin('docs', NEW), 3);
  await first.close();

  const second = await openCollections(dataDir, OPTIONS);
  await second.get('docs').delete({ ids: ['5'] });
  const next = await second.generations.begin('docs', NEW);
  expect(await next.state()).toMatchObject({ filled: 95, waiting: 104 });
  await expect(second.generations.begin('docs', testModel(8, '3'))).rejects.toMatchObject({ code: 'CONFLICT' });
  await second.generations.abandon('docs');
  expect(tables(dataDir)).toEqual(['vectors_1']);
  await expectSearchable(
    second,
    OLD,
    numbers(200).filter((n) => n !== 5),
  );
});

test('a start flips what was whole, and of the live model, when the server ended', async () => {
  const dataDir = temporaryFolder();
  const first = await filled(dataDir, 80);
  await fill(await first.generations.begin('docs', NEW));
  await first.close();
  const undecided = await openCollections(dataDir, { ...OPTIONS, liveFingerprint: OLD.fingerprint });
  await expectSearchable(undecided, OLD, numbers(80));
  await undecided.close();
  const decided = await openCollections(dataDir, { ...OPTIONS, liveFingerprint: NEW.fingerprint });
  await expectSearchable(decided, NEW, numbers(80));
});

test('a document without a text is refused while another model embeds the collection', async () => {
  const collections = await filled(temporaryFolder(), 60);
  const { text: _, ...textless } = document(61);
  const next = await collections.generations.begin('docs', NEW);
  await expect(collections.get('docs').upsert([textless])).rejects.toThrow(/61 has no text/);
  expect(await next.withoutText()).toEqual({ count: 0, id: null });
});

test('a collection of the first schema is read, and can change its model', async () => {
  const dataDir = temporaryFolder();
  await (await filled(dataDir, 60)).close();
  const db = new Database(collectionFile(dataDir, 'docs'));
  db.exec(`ALTER TABLE documents DROP COLUMN embedded_as; UPDATE meta SET value = 1 WHERE key = 'schemaVersion'`);
  db.close();
  const collections = await openCollections(dataDir, OPTIONS);
  await takeOver(collections, await collections.generations.begin('docs', NEW));
  await expectSearchable(collections, NEW, numbers(60));
});

test('a collection of a later schema is refused with what to do', async () => {
  const dataDir = temporaryFolder();
  await (await filled(dataDir, 3)).close();
  const db = new Database(collectionFile(dataDir, 'docs'));
  db.exec(`UPDATE meta SET value = 99 WHERE key = 'schemaVersion'`);
  db.close();
  await expect(openCollections(dataDir, OPTIONS)).rejects.toThrow(/later release \(schema 99/);
});
