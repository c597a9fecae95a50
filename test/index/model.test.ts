/** Random histories against a plain model: a Map, and exact search over it. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Collection } from '../../src/index/collection.js';
import type { Collections } from '../../src/index/collections.js';
import { clusteredVectors, cosine, openCollections, temporaryFolder, testModel } from './fixtures.js';

const D = 8;
const VECTORS = clusteredVectors(200, D, 21, 8);
/** HISTORIES=200 npx vitest run test/index/model.test.ts is the long form. */
const RUNS = Number(process.env.HISTORIES ?? 4);
const OPTIONS = { graphFrom: 20, tombstonesMin: 5, tombstoneShareMax: 0.2 };
const COLOURS = ['red', 'green', 'blue'];

interface Held {
  readonly vector: Float32Array;
  colour: string | undefined;
  n: number;
}
/** Label order: an upsert moves a document to the end. */
type Model = Map<string, Held>;
interface Real {
  readonly dataDir: string;
  collections: Collections;
  collection: Collection;
}

const idArbitrary = fc.integer({ min: 0, max: 60 }).map(String);
const vectorArbitrary = fc.integer({ min: 0, max: VECTORS.length - 1 });
const documentArbitrary = fc.record({
  id: idArbitrary,
  vector: vectorArbitrary,
  colour: fc.constantFrom(...COLOURS, undefined),
});

const filters = {
  red: { filter: { colour: 'red' }, passes: (held: Held) => held.colour === 'red' },
  notRed: { filter: { colour: { $ne: 'red' } }, passes: (held: Held) => held.colour !== 'red' },
  few: { filter: { n: { $lt: 5 } }, passes: (held: Held) => held.n < 5 },
  all: { filter: undefined, passes: () => true },
};
type FilterName = keyof typeof filters;
const filterArbitrary = fc.constantFrom(...(Object.keys(filters) as FilterName[]));

class Command implements fc.AsyncCommand<Model, Real> {
  private readonly name: string;
  private readonly act: (model: Model, real: Real) => Promise<void>;
  constructor(name: string, act: (model: Model, real: Real) => Promise<void>) {
    this.name = name;
    this.act = act;
  }
  check = (): boolean => true;
  run = (model: Model, real: Real): Promise<void> => this.act(model, real);
  toString = (): string => this.name;
}

const upsert = fc.uniqueArray(documentArbitrary, { minLength: 1, maxLength: 25, selector: ({ id }) => id }).map(
  (documents) =>
    new Command(
      `upsert ${documents.map(({ id, vector, colour }) => `${id}=${vector}/${colour}`).join(' ')}`,
      async (model, real) => {
        await real.collection.upsert(
          documents.map(({ id, vector, colour }) => ({
            id,
            vector: VECTORS[vector]!,
            metadata: { n: Number(id), ...(colour ? { colour } : {}) },
          })),
        );
        for (const { id, vector, colour } of documents) {
          model.delete(id);
          model.set(id, { vector: VECTORS[vector]!, colour, n: Number(id) });
        }
      },
    ),
);
const remove = fc.uniqueArray(idArbitrary, { maxLength: 20 }).map(
  (ids) =>
    new Command(`delete ${ids}`, async (model, real) => {
      const { deleted } = await real.collection.delete({ ids });
      expect(deleted).toBe(ids.filter((id) => model.delete(id)).length);
    }),
);
const removeBy = filterArbitrary.map(
  (name) =>
    new Command(`delete where ${name}`, async (model, real) => {
      const { filter, passes } = filters[name];
      if (!filter) return;
      const doomed = [...model].filter(([, held]) => passes(held)).map(([id]) => id);
      expect(await real.collection.delete({ filter })).toMatchObject({ deleted: doomed.length });
      for (const id of doomed) model.delete(id);
    }),
);
const patch = fc.tuple(filterArbitrary, fc.constantFrom(...COLOURS, null)).map(
  ([name, colour]) =>
    new Command(`patch where ${name}: ${colour}`, async (model, real) => {
      const { filter = {}, passes } = filters[name];
      const chosen = [...model.values()].filter(passes);
      expect(await real.collection.patchMetadata({ filter }, { colour })).toMatchObject({ updated: chosen.length });
      for (const held of chosen) held.colour = colour ?? undefined;
    }),
);
const search = fc.tuple(vectorArbitrary, fc.integer({ min: 1, max: 20 }), filterArbitrary, fc.boolean()).map(
  ([query, k, name, exact]) =>
    new Command(`search ${query} k=${k} ${name}${exact ? ' exact' : ''}`, async (model, real) => {
      const { filter, passes } = filters[name];
      const vector = VECTORS[query]!;
      // At this breadth a walk over so few nodes is exact too.
      const request = {
        vector,
        k,
        mode: 'dense',
        exact,
        efSearch: 200,
        include: [],
        ...(filter ? { filter } : {}),
      } as const;
      const { results } = await real.collection.search(request);
      const scores = [...model.values()].filter(passes).map((held) => cosine(held.vector, vector));
      const expected = scores.sort((a, b) => b - a).slice(0, k);
      expect(results).toHaveLength(expected.length);
      for (const [rank, { id, score }] of results.entries()) {
        expect(score).toBeCloseTo(expected[rank]!, 5);
        expect(score).toBeCloseTo(cosine(model.get(id)!.vector, vector), 5);
        expect(passes(model.get(id)!)).toBe(true);
      }
    }),
);
const scroll = filterArbitrary.map(
  (name) =>
    new Command(`scroll ${name}`, async (model, real) => {
      const { filter, passes } = filters[name];
      const { documents } = await real.collection.query({
        limit: 1000,
        ...(filter ? { filter } : {}),
        include: ['metadata'],
      });
      const expected = [...model].filter(([, held]) => passes(held));
      expect(documents.map(({ id }) => id)).toEqual(expected.map(([id]) => id));
      expect(documents.map(({ metadata }) => metadata!.colour)).toEqual(expected.map(([, { colour }]) => colour));
    }),
);
const compact = fc.constant(new Command('compact', async (_, real) => real.collection.compact()));
const restart = fc.constant(
  new Command('restart', async (_, real) => {
    await real.collections.close();
    real.collections = await openCollections(real.dataDir, OPTIONS);
    real.collection = real.collections.get('docs');
  }),
);

test.each(['float32', 'int8'] as const)(
  'any history of a %s collection ends as the plain model says',
  async (quantization) => {
    const history = fc.commands(
      [upsert, upsert, upsert, remove, removeBy, patch, search, search, search, scroll, compact, restart],
      {
        maxCommands: 30,
        size: 'max',
      },
    );
    await fc.assert(
      fc.asyncProperty(history, async (commands) => {
        const dataDir = temporaryFolder();
        const collections = await openCollections(dataDir, OPTIONS);
        const collection = await collections.put(
          'docs',
          { quantization, oversample: 20, indexes: ['metadata.n'] },
          testModel(D),
        );
        const real: Real = { dataDir, collections, collection };
        await fc.asyncModelRun(() => ({ model: new Map() as Model, real }), commands);
        await real.collections.close();
      }),
      { seed: 7, numRuns: RUNS },
    );
  },
);
