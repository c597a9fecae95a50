import { describe, expect, test } from 'vitest';
import { createMetrics } from '../../src/metrics.js';
import { clusteredVectors, cosine, nearest, openCollections, temporaryFolder, testModel } from './fixtures.js';

const D = 16;
const MODEL = testModel(D);
const VECTORS = clusteredVectors(400, D, 1);

async function openOne(options = {}) {
  const dataDir = temporaryFolder();
  const collections = await openCollections(dataDir, { graphFrom: 50 });
  return { dataDir, collections, collection: await collections.put('docs', options, MODEL) };
}

test('the age of the newest graph snapshot grows between reports', async () => {
  const metrics = createMetrics();
  const shown = async () => (await metrics.registry.metrics()).match(/^anchorage_snapshot_age_seconds (\S+)/m)![1];
  const dataDir = temporaryFolder();
  const filled = await openCollections(dataDir, { graphFrom: 50, metrics });
  expect(await shown()).toBe('-1');
  const collection = await filled.put('docs', {}, testModel(16));
  await collection.upsert(clusteredVectors(80, 16, 1).map((vector, n) => ({ id: String(n), vector })));
  await collection.compact();
  await expect.poll(async () => Number(await shown())).toBeGreaterThanOrEqual(0);
  const first = Number(await shown());
  await expect.poll(async () => Number(await shown())).toBeGreaterThan(first);
});

describe('documents', () => {
  test('come back as they went in', async () => {
    const { collection } = await openOne();
    const document = { id: 'a', text: 'Ein Häuschen 🏠', metadata: { n: 1.5, deep: { list: [1, 'x', null, true] } } };
    const { ids, upserted, sequence } = await collection.upsert([{ ...document, vector: VECTORS[0]! }]);
    expect({ ids, upserted, sequence }).toEqual({ ids: ['a'], upserted: 1, sequence: 1 });
    const [found] = await collection.get(['a'], ['text', 'metadata', 'vector']);
    expect(found).toEqual({ ...document, vector: VECTORS[0] });
  });

  test('are replaced by an upsert of the same id, text and vector and all', async () => {
    const { collection } = await openOne();
    await collection.upsert([{ id: 'a', text: 'the old harbour', vector: VECTORS[0]!, metadata: { old: true } }]);
    await collection.upsert([{ id: 'a', text: 'a new library', vector: VECTORS[1]! }]);
    expect(await collection.get(['a'])).toEqual([{ id: 'a', text: 'a new library', metadata: {} }]);
    const sparse = (text: string) => collection.search({ text, k: 5, mode: 'sparse', include: [] });
    expect((await sparse('harbour')).results).toEqual([]);
    expect((await sparse('libraries')).results).toHaveLength(1);
    expect((await collection.info()).documents).toBe(1);
  });

  test('are gone once a delete is answered, and deleting them again is harmless', async () => {
    const { collection } = await openOne();
    await collection.upsert(VECTORS.slice(0, 60).map((vector, n) => ({ id: `d${n}`, vector, metadata: { n } })));
    expect(await collection.delete({ ids: ['d0', 'd1', 'never'] })).toMatchObject({ deleted: 2 });
    expect(await collection.delete({ ids: ['d0', 'd1'] })).toMatchObject({ deleted: 0 });
    expect(await collection.delete({ filter: { n: { $gte: 50 } } })).toMatchObject({ deleted: 10 });
    const { results } = await collection.search({ vector: VECTORS[0]!, k: 100, mode: 'dense', include: [] });
    expect(results).toHaveLength(48);
    expect(results.map(({ id }) => id)).not.toContain('d0');
  });

  test('have metadata that a patch merges into, and null removes from', async () => {
    const { collection } = await openOne();
    await collection.upsert([
      { id: 'a', vector: VECTORS[0]!, metadata: { keep: 1, change: 1, drop: 1 } },
      { id: 'b', vector: VECTORS[1]!, metadata: { keep: 2 } },
    ]);
    expect(await collection.patchMetadata({ ids: ['a', 'none'] }, { change: 2, drop: null })).toMatchObject({
      updated: 1,
    });
    expect((await collection.get(['a', 'b'], ['metadata'])).map(({ metadata }) => metadata)).toEqual([
      { keep: 1, change: 2 },
      { keep: 2 },
    ]);
    const { results } = await collection.search({
      vector: VECTORS[0]!,
      k: 5,
      mode: 'dense',
      filter: { change: 2 },
      include: [],
    });
    expect(results.map(({ id }) => id)).toEqual(['a']);
  });

  test('without anything visible in their text are no texts to learn from', async () => {
    const { collection } = await openOne();
    const texts = ['', ' \n\u200b', 'a harbour'];
    await collection.upsert(texts.map((text, n) => ({ id: String(n), text, vector: VECTORS[n]! })));
    expect(await collection.sample(10)).toEqual([{ id: '2', text: 'a harbour', vector: VECTORS[2] }]);
  });

  test('are scrolled through page by page, each once', async () => {
    const { collection } = await openOne();
    await collection.upsert(
      VECTORS.slice(0, 25).map((vector, n) => ({ id: `d${n}`, vector, metadata: { even: n % 2 === 0 } })),
    );
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await collection.query({ limit: 4, filter: { even: true }, ...(cursor ? { cursor } : {}) });
      seen.push(...page.documents.map(({ id }) => id));
      cursor = page.cursor;
    } while (cursor);
    expect(seen).toEqual(Array.from({ length: 13 }, (_, n) => `d${2 * n}`));
    await expect(collection.query({ cursor: 'bm9uc2Vuc2U' })).rejects.toMatchObject({
      code: 'VALIDATION',
      field: 'cursor',
    });
  });
});

describe('chunks', () => {
  const text = 'Boats rest at anchor. The moon is out.';
  const chunks = [
    { start: 0, stop: 21, vector: VECTORS[0]! },
    { start: 22, stop: 38, vector: VECTORS[1]! },
  ];

  test('are found, and know their document and their place in it', async () => {
    const { collection } = await openOne();
    await collection.upsert([{ id: 'p', text, chunks, metadata: { lang: 'en' } }]);
    const { results } = await collection.search({
      vector: VECTORS[1]!,
      k: 1,
      mode: 'dense',
      filter: { lang: 'en' },
      include: ['text'],
    });
    expect(results[0]).toMatchObject({ id: 'p#1', parent: 'p', start: 22, stop: 38, text: 'The moon is out.' });
    expect(await collection.info()).toMatchObject({ documents: 1, chunks: 2, vectors: 2 });
  });

  test('are gathered under their documents when asked', async () => {
    const { collection } = await openOne();
    const plain = Array.from({ length: 30 }, (_, n) => ({ id: `p${n}`, text: 'x', vector: VECTORS[n + 10]! }));
    await collection.upsert([{ id: 'p', text, chunks, metadata: { lang: 'en' } }, ...plain]);
    const request = {
      vector: VECTORS[1]!,
      k: 3,
      mode: 'dense',
      groupBy: 'parent',
      include: ['text', 'metadata'],
    } as const;
    const { results } = await collection.search(request);
    expect(results).toHaveLength(3);
    expect(results[0]).toMatchObject({ id: 'p', text, metadata: { lang: 'en' }, score: expect.closeTo(1, 5) });
    expect(results[0]!.chunks![0]).toMatchObject({ id: 'p#1', text: 'The moon is out.' });
    expect(new Set(results.map(({ id }) => id)).size).toBe(3);
  });

  test('go and change with their document', async () => {
    const { collection } = await openOne();
    await collection.upsert([{ id: 'p', text, chunks }]);
    await collection.patchMetadata({ ids: ['p'] }, { seen: true });
    expect(await collection.get(['p#0'], ['metadata'])).toMatchObject([{ metadata: { seen: true } }]);
    await collection.upsert([{ id: 'p', text, chunks: chunks.slice(0, 1) }]);
    expect(await collection.info()).toMatchObject({ documents: 1, chunks: 1 });
    await collection.delete({ ids: ['p'] });
    expect(await collection.info()).toMatchObject({ documents: 0, chunks: 0, vectors: 0 });
  });

  test('cannot be replaced or deleted behind their document', async () => {
    const { collection } = await openOne();
    await collection.upsert([{ id: 'p', text, chunks }]);
    await expect(collection.upsert([{ id: 'p#0', vector: VECTORS[2]! }])).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await collection.delete({ ids: ['p#0'] })).toMatchObject({ deleted: 0 });
  });
});

describe('search', () => {
  test('with a graph finds what exact search finds', async () => {
    const { collection } = await openOne();
    await collection.upsert(VECTORS.map((vector, n) => ({ id: String(n), vector })));
    for (const query of clusteredVectors(10, D, 2)) {
      const { results } = await collection.search({ vector: query, k: 10, mode: 'dense', efSearch: 200, include: [] });
      expect(results.map(({ id }) => Number(id))).toEqual(nearest(VECTORS, query, 10));
      expect(results[0]!.score).toBeCloseTo(cosine(VECTORS[Number(results[0]!.id)]!, query), 5);
    }
  });

  test.each(['float32', 'int8', 'binary'] as const)('with %s codes scores by full vectors', async (quantization) => {
    const { collection } = await openOne({ quantization, oversample: 50 });
    await collection.upsert(VECTORS.map((vector, n) => ({ id: String(n), vector })));
    const query = VECTORS[7]!;
    const search = (exact: boolean) => collection.search({ vector: query, k: 5, mode: 'dense', exact, include: [] });
    const { results } = await search(true);
    expect(results.map(({ id }) => Number(id))).toEqual(nearest(VECTORS, query, 5));
    expect(results[0]).toMatchObject({ id: '7', score: expect.closeTo(1, 5) });
    expect((await search(false)).results[0]).toMatchObject({ id: '7', score: expect.closeTo(1, 5) });
  });

  test('with codes of fewer dimensions scores by all of them', async () => {
    const { collection } = await openOne({ dimensions: 8 });
    await collection.upsert(VECTORS.map((vector, n) => ({ id: String(n), vector })));
    const { results } = await collection.search({ vector: VECTORS[3]!, k: 1, mode: 'dense', include: ['vector'] });
    expect(results[0]).toMatchObject({ id: '3', vector: VECTORS[3], score: expect.closeTo(1, 5) });
  });

  test('hybrid finds what either half finds, and says which', async () => {
    const { collection } = await openOne();
    await collection.upsert([
      { id: 'near', text: 'nothing of the sort', vector: VECTORS[0]! },
      { id: 'words', text: 'a lighthouse keeper', vector: VECTORS[0]!.map((value) => -value) },
    ]);
    const request = { vector: VECTORS[0]!, text: 'lighthouse', k: 2, include: [] };
    const { results, timingsMs } = await collection.search({ ...request, mode: 'hybrid' });
    expect(results[0]).toMatchObject({ id: 'near', denseScore: expect.closeTo(1, 5), score: expect.closeTo(2 / 3, 5) });
    expect(results[1]).toMatchObject({
      id: 'words',
      sparseScore: expect.any(Number),
      denseScore: expect.closeTo(-1, 5),
      score: expect.closeTo(-1 / 3, 5),
    });
    expect(timingsMs).toMatchObject({ dense: expect.any(Number), sparse: expect.any(Number), path: 'exact' });
    // By rank it matters that both lists hold it, and not that it is last of one.
    const byRank = await collection.search({ ...request, mode: 'hybrid', fusion: { method: 'rrf' } });
    expect(byRank.results[0]!.id).toBe('words');
    const words = { method: 'weighted', weights: { dense: 1, sparse: 4 } } as const;
    const weighted = await collection.search({ ...request, mode: 'hybrid', fusion: words });
    expect(weighted.results[0]!.id).toBe('words');
  });

  test('leaves out what scores below minScore', async () => {
    const { collection } = await openOne();
    await collection.upsert(VECTORS.slice(0, 20).map((vector, n) => ({ id: String(n), vector })));
    const { results } = await collection.search({
      vector: VECTORS[0]!,
      k: 20,
      mode: 'dense',
      minScore: 0.999,
      include: [],
    });
    expect(results.map(({ id }) => id)).toEqual(['0']);
  });

  test('takes words as words, whatever operators they look like', async () => {
    const { collection } = await openOne();
    await collection.upsert([{ id: 'a', text: 'rock AND roll', vector: VECTORS[0]! }]);
    const sparse = (text: string) => collection.search({ text, k: 5, mode: 'sparse', include: [] });
    for (const text of ['"rock', 'rock*', 'NEAR(rock roll)', '(rock', "rock' OR 1", 'text:rock', '-rock ^roll']) {
      expect((await sparse(text)).results.map(({ id }) => id)).toEqual(['a']);
    }
    expect((await sparse('?!*"()')).results).toEqual([]);
  });

  test('whose halves both fail leaves no rejection that ends the process', async () => {
    const { collections, collection } = await openOne();
    await collections.close();
    const orphans: unknown[] = [];
    const note = (reason: unknown): void => void orphans.push(reason);
    process.on('unhandledRejection', note);
    // The searcher's thread is gone, and there is no text.
    await expect(collection.search({ vector: VECTORS[0]!, k: 1, mode: 'hybrid', include: [] })).rejects.toThrow();
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', note);
    expect(orphans).toEqual([]);
  });

  test.each([
    ['k of 0', { k: 0 }, 'k'],
    ['k of 1e9', { k: 1e9 }, 'k'],
    ['efSearch of 1e6', { k: 1, efSearch: 1e6 }, 'efSearch'],
    ['NaN in the vector', { k: 1, vector: new Float32Array(D).fill(Number.NaN) }, 'vector'],
    ['the zero vector', { k: 1, vector: new Float32Array(D) }, 'vector'],
    ['too few dimensions', { k: 1, vector: new Float32Array(3).fill(1) }, 'vector'],
    ['no vector', { k: 1, vector: undefined }, 'vector'],
    ['an unknown operator', { k: 1, filter: { n: { $near: 1 } } }, 'filter.n.$near'],
  ])('refuses %s', async (_, part, field) => {
    const { collection } = await openOne();
    const request = { mode: 'dense', vector: VECTORS[0]!, include: [], ...part } as never;
    await expect(collection.search(request)).rejects.toMatchObject({ code: 'VALIDATION', field });
  });
});

describe('collections', () => {
  test.each(['../x', '', 'A', '.hidden', 'a/b', 'x'.repeat(101)])('are not named %j', async (name) => {
    const collections = await openCollections(temporaryFolder());
    await expect(collections.put(name, {}, MODEL)).rejects.toMatchObject({ code: 'VALIDATION', field: 'collection' });
    expect(() => collections.get(name)).toThrow(expect.objectContaining({ code: 'VALIDATION' }));
  });

  test('are made once: again is harmless, with other settings it is a conflict', async () => {
    const { collections, collection } = await openOne({ m: 8 });
    expect(await collections.put('docs', { m: 8 }, MODEL)).toBe(collection);
    expect(await collections.put('docs', {}, MODEL)).toBe(collection);
    await expect(collections.put('docs', { m: 9 }, MODEL)).rejects.toMatchObject({ code: 'CONFLICT', field: 'm' });
  });

  test('made by two requests at once are one', async () => {
    const collections = await openCollections(temporaryFolder());
    const [one, two] = await Promise.all([collections.put('docs', {}, MODEL), collections.put('docs', {}, MODEL)]);
    expect(one).toBe(two);
  });

  test('refuse another model, naming both', async () => {
    const { collections } = await openOne();
    const other = testModel(D, '2');
    await expect(collections.put('docs', {}, other)).rejects.toMatchObject({
      code: 'MODEL_MISMATCH',
      message: expect.stringMatching(/test@1.*test@2/s),
    });
  });

  test('are forgotten when deleted, and a new one of the name is empty', async () => {
    const { collections, collection } = await openOne();
    await collection.upsert([{ id: 'a', vector: VECTORS[0]! }]);
    expect(await collections.delete('docs')).toBe(true);
    expect(await collections.delete('docs')).toBe(false);
    expect(() => collections.get('docs')).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    const again = await collections.put('docs', {}, MODEL);
    expect((await again.info()).documents).toBe(0);
  });

  test('made while one of the name is being deleted are new and empty', async () => {
    const { collections, collection } = await openOne();
    await collection.upsert(VECTORS.map((vector, n) => ({ id: String(n), vector })));
    const [deleted, again] = await Promise.all([collections.delete('docs'), collections.put('docs', {}, MODEL)]);
    expect(deleted).toBe(true);
    expect(collections.get('docs')).toBe(again);
    await again.upsert([{ id: 'new', vector: VECTORS[0]! }]);
    const { results } = await again.search({ vector: VECTORS[0]!, k: 10, mode: 'dense', include: [] });
    expect(results.map(({ id }) => id)).toEqual(['new']);
    expect(await again.info()).toMatchObject({ documents: 1, index: { vectors: 1 } });
  });

  test('survive a restart with all that was written', async () => {
    const { dataDir, collections, collection } = await openOne({ indexes: ['metadata.n'] });
    await collection.upsert(VECTORS.map((vector, n) => ({ id: String(n), vector, metadata: { n } })));
    await collection.delete({ ids: ['5'] });
    const ask = { vector: VECTORS[5]!, k: 20, mode: 'dense', include: ['metadata'] } as const;
    const before = (await collection.search(ask)).results;
    await collections.close();
    const again = (await openCollections(dataDir, { graphFrom: 50 })).get('docs');
    expect((await again.search(ask)).results).toEqual(before);
    const { documents, sequence, index } = await again.info();
    expect({ documents, sequence, vectors: index.graphNodes - index.tombstones + index.backlog }).toEqual({
      documents: 399,
      sequence: 2,
      vectors: 399,
    });
  });

  test('of one data directory belong to one process at a time', async () => {
    const { dataDir, collections } = await openOne();
    await expect(openCollections(dataDir)).rejects.toMatchObject({
      code: 'DATA_DIR_IN_USE',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    await collections.close();
    await openCollections(dataDir);
  });
});

test('writes that wait together are committed together, and one that fails fails alone', async () => {
  const { collection } = await openOne();
  await collection.upsert([{ id: 'p', text: 'ab', chunks: [{ start: 0, stop: 1, vector: VECTORS[0]! }] }]);
  const writes = VECTORS.slice(0, 50).map((vector, n) =>
    collection.upsert([{ id: n === 25 ? 'p#0' : `d${n}`, vector }]),
  );
  const outcomes = await Promise.allSettled(writes);
  expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1);
  expect(outcomes[25]).toMatchObject({ status: 'rejected', reason: { code: 'CONFLICT' } });
  expect((await collection.info()).documents).toBe(50);
});
