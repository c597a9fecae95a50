import { describe, expect, test } from 'vitest';
import { mapVector } from '../../src/index/query-map.js';
import { fitQueryMap } from '../../src/jobs/query-drift.js';
import { clusteredVectors, cosine, normalized, seededRandom, testModel } from '../index/fixtures.js';

const COUNT = 500;

/** A rotation [d, d]: Gram-Schmidt on random rows. */
function randomRotation(dimensions: number, seed: number): Float32Array[] {
  const random = seededRandom(seed);
  const rows: Float32Array[] = [];
  while (rows.length < dimensions) {
    let row = normalized(Float32Array.from({ length: dimensions }, () => random() - 0.5));
    for (const other of rows) {
      const along = cosine(row, other);
      row = row.map((value, d) => value - along * other[d]!);
    }
    rows.push(normalized(row));
  }
  return rows;
}

const turned = (rows: readonly Float32Array[], vector: Float32Array): Float32Array =>
  normalized(Float32Array.from(rows, (row) => cosine(row, vector)));

describe('a map between two models', () => {
  test('a rotation is found exactly, by Procrustes, where one is all there is', () => {
    const [from, to] = [testModel(12, '2'), testModel(12, '1')];
    const rotation = randomRotation(12, 5);
    const vectors = clusteredVectors(COUNT, 12, 1);
    const map = fitQueryMap({ from, to }, { from: vectors, to: vectors.map((vector) => turned(rotation, vector)) });
    expect(map).toMatchObject({ from, to, fittedFrom: 300, heldOut: { texts: 100, cosine: expect.closeTo(1, 5) } });
    expect(map.heldOut.recallAt10).toBe(1);
    const fresh = clusteredVectors(1, 12, 9)[0]!;
    expect(cosine(mapVector(map, fresh), turned(rotation, fresh))).toBeCloseTo(1, 5);
  });

  test('ridge wins where directions were stretched, also between other numbers of dimensions', () => {
    const [from, to] = [testModel(10, '2'), testModel(16, '1')];
    const random = seededRandom(3);
    const stretch = Array.from({ length: 16 }, () => Float32Array.from({ length: 10 }, () => (random() - 0.5) ** 3));
    const vectors = clusteredVectors(COUNT, 10, 2);
    const map = fitQueryMap({ from, to }, { from: vectors, to: vectors.map((vector) => turned(stretch, vector)) });
    expect(map.method).toBe('ridge');
    expect(map.matrix.length).toBe(160);
    expect(map.heldOut.cosine).toBeGreaterThan(0.98);
    expect(map.heldOut.recallAt10OfOldQueries).toBeGreaterThan(0);
  });

  test('models that have nothing in common are reported so', () => {
    const [from, to] = [testModel(12, '2'), testModel(12, '1')];
    const vectors = { from: clusteredVectors(COUNT, 12, 1), to: clusteredVectors(COUNT, 12, 77) };
    expect(fitQueryMap({ from, to }, vectors).heldOut.recallAt10).toBeLessThan(0.4);
  });

  test('too few texts, and vectors of another length, are refused', () => {
    const [from, to] = [testModel(12, '2'), testModel(12, '1')];
    const vectors = clusteredVectors(99, 12, 1);
    expect(() => fitQueryMap({ from, to }, { from: vectors, to: vectors })).toThrow(/needs 100 texts .* not 99/);
    const more = clusteredVectors(100, 12, 1);
    const map = fitQueryMap({ from, to }, { from: more, to: more });
    expect(() => mapVector(map, new Float32Array(11))).toThrow(/11 dimensions, where test@2 has 12/);
  });
});
