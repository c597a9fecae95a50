import { copyFileSync, readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type GraphShape, HnswGraph } from '../../src/index/hnsw.js';
import { loadSnapshot, type Stamp, snapshotFile, writeSnapshot } from '../../src/index/snapshot.js';
import { clusteredVectors, openCollections, seededRandom, temporaryFolder, testModel } from './fixtures.js';

const D = 16;
const SHAPE: GraphShape = { dimensions: D, quantization: 'float32', m: 8, efConstruction: 64 };
const VECTORS = clusteredVectors(300, D, 3);
const STAMP: Stamp = {
  lifeId: 'life',
  generation: 1,
  sequence: 7,
  lastLabel: 300,
  missing: [],
  nodes: 300,
  shape: SHAPE,
  writtenAt: '2026-01-01T00:00:00.000Z',
};
const EXPECTED = { lifeId: 'life', generation: 1, sequence: 7, shape: SHAPE };

async function writtenSnapshot(): Promise<{ folder: string; path: string; graph: HnswGraph }> {
  const folder = temporaryFolder();
  const graph = new HnswGraph(SHAPE);
  for (const [index, vector] of VECTORS.entries()) graph.add(index + 1, vector);
  await writeSnapshot(folder, graph, STAMP);
  return { folder, path: join(folder, snapshotFile(1)), graph };
}

test('a graph that was written and read finds the same', async () => {
  const { folder, graph } = await writtenSnapshot();
  const loaded = await loadSnapshot(folder, EXPECTED);
  if ('reason' in loaded) throw new Error(loaded.reason);
  expect(loaded.stamp).toEqual(STAMP);
  for (const query of clusteredVectors(20, D, 4))
    expect(loaded.graph.search(query, 10)).toEqual(graph.search(query, 10));
});

describe('a snapshot is refused with the reason', () => {
  test.each([
    ['of another life of the collection', { lifeId: 'other' }, /another collection/],
    ['of another generation', { generation: 2 }, /generation 1, not 2/],
    ['of another shape', { shape: { ...SHAPE, m: 9 } }, /another shape/],
    ['that is ahead of the rows', { sequence: 6 }, /reflects change 7, the rows end at 6/],
  ])('%s', async (_, difference, reason) => {
    const { folder, path } = await writtenSnapshot();
    const expected = { ...EXPECTED, ...difference };
    renameSync(path, join(folder, snapshotFile(expected.generation)));
    expect(await loadSnapshot(folder, expected)).toEqual({
      reason: expect.stringMatching(reason),
    });
  });

  test('when there is none', async () => {
    expect(await loadSnapshot(temporaryFolder(), EXPECTED)).toEqual({ reason: 'there is none' });
  });

  test('at whatever length it was cut off', async () => {
    const { folder, path } = await writtenSnapshot();
    const whole = readFileSync(path);
    const random = seededRandom(5);
    const lengths = [
      0,
      1,
      43,
      44,
      whole.length - 1,
      ...Array.from({ length: 60 }, () => Math.floor(random() * whole.length)),
    ];
    for (const length of lengths) {
      writeFileSync(path, whole);
      truncateSync(path, length);
      expect(await loadSnapshot(folder, EXPECTED)).toEqual({ reason: expect.any(String) });
    }
  });

  test('whichever bit was flipped', async () => {
    const { folder, path } = await writtenSnapshot();
    const whole = readFileSync(path);
    const random = seededRandom(6);
    const last = Array.from({ length: 60 }, (_, n) => whole.length - 1 - n);
    for (const offset of [0, ...last, ...Array.from({ length: 100 }, () => Math.floor(random() * whole.length))]) {
      const flipped = Buffer.from(whole);
      flipped[offset]! ^= 1 << Math.floor(random() * 8);
      writeFileSync(path, flipped);
      expect(await loadSnapshot(folder, EXPECTED)).toEqual({ reason: expect.any(String) });
    }
  });
});

test('a collection whose snapshot is damaged builds its graph from the rows, says why, and finds the same', async () => {
  const dataDir = temporaryFolder();
  const first = await openCollections(dataDir, { graphFrom: 50 });
  const collection = await first.put('docs', {}, testModel(D));
  await collection.upsert(VECTORS.map((vector, n) => ({ id: String(n), vector })));
  const ask = { vector: VECTORS[9]!, k: 10, mode: 'dense', include: [] } as const;
  const before = (await collection.search(ask)).results;
  await first.close();
  const path = join(dataDir, 'collections', 'docs', snapshotFile(1));
  copyFileSync(join(dataDir, 'collections', 'docs', 'documents.sqlite'), path);

  const messages: string[] = [];
  const logger = { info: () => {}, warn: (_: object, message: string) => void messages.push(message) };
  const again = (await openCollections(dataDir, { graphFrom: 50, logger })).get('docs');
  expect((await again.search(ask)).results).toEqual(before);
  expect(messages).toEqual([expect.stringMatching(/snapshot not used: .*building from 300 rows/)]);
});
