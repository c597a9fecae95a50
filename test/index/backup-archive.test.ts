import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import type { Collections } from '../../src/index/collections.js';
import { clusteredVectors, openCollections, seededRandom, temporaryFolder, testModel } from './fixtures.js';

const D = 16;
const VECTORS = clusteredVectors(120, D, 5);

async function filled(dataDir: string): Promise<Collections> {
  const collections = await openCollections(dataDir, { graphFrom: 50 });
  const collection = await collections.put('docs', {}, testModel(D));
  await collection.upsert(VECTORS.map((vector, n) => ({ id: String(n), text: `number ${n}`, vector })));
  return collections;
}

async function archived(): Promise<Buffer> {
  const collections = await filled(temporaryFolder());
  const { id } = await collections.backUp();
  return buffer(await collections.archive(id));
}

const left = (dataDir: string): string[] => {
  const folder = join(dataDir, 'snapshots');
  return existsSync(folder) ? readdirSync(folder) : [];
};

/** Two pieces, as a socket gives them. */
const stream = (bytes: Buffer): Readable => Readable.from([bytes.subarray(0, 700), bytes.subarray(700)]);

async function tarOf(entries: Record<string, string>, type: 'file' | 'symlink' = 'file'): Promise<Buffer> {
  const archive = pack();
  for (const [name, contents] of Object.entries(entries)) {
    archive.entry({ name, type, ...(type === 'symlink' ? { linkname: '/etc/passwd' } : {}) }, contents);
  }
  archive.finalize();
  return buffer(archive);
}

const manifestOf = (name: string): string =>
  JSON.stringify({
    id: '20260101T000000Z-abcdef',
    createdAt: '2026-01-01T00:00:00.000Z',
    files: {},
    collections: [{ name, documents: 0, sequence: 0 }],
  });

test('a copy goes to another data directory as a stream and answers there', async () => {
  const source = await filled(temporaryFolder());
  const { id, bytes } = await source.backUp();
  const question = { vector: VECTORS[7]!, text: 'number 7', k: 5, mode: 'hybrid', include: ['text'] } as const;
  const { results } = await source.get('docs').search(question);

  const dataDir = temporaryFolder();
  const target = await openCollections(dataDir, { graphFrom: 50 });
  const received = await target.receive(stream(await buffer(await source.archive(id))));
  expect(received).toMatchObject({ id, bytes, collections: [{ name: 'docs', documents: 120 }] });
  expect(await target.backups()).toEqual([received]);
  await target.restore(id);
  expect((await target.get('docs').search(question)).results).toEqual(results);
  await target.deleteBackup(id);
  expect(await target.backups()).toEqual([]);
  expect(left(dataDir)).toEqual([]);
});

describe('what is no whole snapshot leaves nothing behind', () => {
  const expectRefused = async (bytes: Buffer, message: RegExp): Promise<void> => {
    const dataDir = temporaryFolder();
    const collections = await openCollections(dataDir);
    await expect(collections.receive(stream(bytes))).rejects.toMatchObject({
      code: 'VALIDATION',
      message: expect.stringMatching(message),
    });
    expect(await collections.backups()).toEqual([]);
    expect(left(dataDir)).toEqual([]);
  };

  test('a stream that ends early, at any place', async () => {
    const bytes = await archived();
    const random = seededRandom(3);
    for (let n = 0; n < 12; n++) {
      await expectRefused(bytes.subarray(0, Math.floor(random() * (bytes.length - 1024))), /no whole snapshot/);
    }
  });

  test('a flipped bit in a file', async () => {
    const bytes = await archived();
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    await expectRefused(bytes, /has another SHA-256/);
  });

  test.each([
    ['a path outside', { '../../escaped.sqlite': 'x' }, /is no file of a snapshot/],
    ['an absolute path', { '/tmp/escaped': 'x' }, /is no file of a snapshot/],
    ['a file of another kind', { 'collections/docs/evil.sh': 'x' }, /is no file of a snapshot/],
    ['no manifest', { 'collections/docs/documents.sqlite': 'x' }, /no manifest.json/],
    ['a manifest of somebody else', { 'manifest.json': '{"files": []}' }, /none of ours/],
    [
      'a manifest with an id that is a path',
      { 'manifest.json': '{"id":"../../x","createdAt":"","files":{},"collections":[]}' },
      /none of ours/,
    ],
    [
      'a manifest with a collection whose name is a path',
      { 'manifest.json': manifestOf('x/../../../victim') },
      /none of ours/,
    ],
    [
      'a file that the manifest does not name',
      {
        'manifest.json': manifestOf('docs').replace(/"collections":.*/, '"collections":[]}'),
        'collections/docs/documents.sqlite': 'x',
      },
      /does not name collections\/docs\/documents.sqlite/,
    ],
    ['a manifest with a collection without rows', { 'manifest.json': manifestOf('docs') }, /docs has no documents/],
  ])('%s', async (_, entries, message) => expectRefused(await tarOf(entries as Record<string, string>), message));

  test('a link', async () => {
    await expectRefused(await tarOf({ 'manifest.json': '' }, 'symlink'), /is no file of a snapshot/);
  });

  test('something that is no tar file', async () => {
    await expectRefused(Buffer.alloc(4096, 'not a tar file '), /no whole snapshot/);
  });
});

test('a copy that is here already is not taken twice', async () => {
  const collections = await filled(temporaryFolder());
  const { id } = await collections.backUp();
  const bytes = await buffer(await collections.archive(id));
  await expect(collections.receive(stream(bytes))).rejects.toMatchObject({ code: 'CONFLICT' });
  expect((await collections.backups()).length).toBe(1);
});
