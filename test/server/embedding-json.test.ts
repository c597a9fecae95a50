import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matrixJson, vectorJson } from '../../src/server/embedding-json.js';

const parse = (vector: Float32Array): number[] => JSON.parse(vectorJson(vector).toString()) as number[];

describe('vectors as JSON', () => {
  it('read back within half a billionth, for components of a unit vector', () => {
    const components = fc.float32Array({ min: -1, max: 1, noNaN: true, minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(components, (vector) => {
        const back = parse(vector);
        expect(back).toHaveLength(vector.length);
        for (const [i, value] of back.entries()) expect(Math.abs(value - vector[i]!)).toBeLessThanOrEqual(5.001e-10);
      }),
    );
  });

  it('read back as the same float32, for components of any finite size', () => {
    fc.assert(
      fc.property(fc.float32Array({ noNaN: true, noDefaultInfinity: true, minLength: 1 }), (vector) => {
        if (vector.every((value) => Math.abs(value) < 2)) return;
        const back = parse(vector);
        for (const [i, value] of back.entries()) expect(Math.fround(value)).toBe(vector[i]! + 0);
      }),
    );
  });

  it.each([
    [[], '[]'],
    [[0], '[0.000000000]'],
    [[1, -1], '[1.000000000,-1.000000000]'],
    [[0.9999999999], '[1.000000000]'],
    [[0.5, -0.25, 1.5], '[0.500000000,-0.250000000,1.500000000]'],
    [[1e-12], '[0.000000000]'],
    [[Number.NaN, Number.POSITIVE_INFINITY], '[null,null]'],
  ])('%j becomes %s', (numbers, json) => {
    expect(vectorJson(Float32Array.from(numbers)).toString()).toBe(json);
  });

  it('make a matrix a row at a time', () => {
    const json = Buffer.concat([...matrixJson(Float32Array.of(1, 0, 0, 1), 2)]).toString();
    expect(JSON.parse(json)).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect(Buffer.concat([...matrixJson(new Float32Array(0), 2)]).toString()).toBe('[]');
  });

  it('are the same in a matrix as alone, in matrices of several pieces and beside large components', () => {
    const matrix = fc.record({
      dimensions: fc.integer({ min: 1, max: 3000 }),
      count: fc.integer({ min: 1, max: 40 }),
      large: fc.option(fc.nat(39)),
      seed: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(matrix, ({ dimensions, count, large, seed }) => {
        const vectors = Float32Array.from({ length: count * dimensions }, (_, i) => Math.sin(seed + i));
        if (large !== null && large < count) vectors[large * dimensions] = 1e10;
        const rows = Array.from({ length: count }, (_, row) =>
          vectorJson(vectors.subarray(row * dimensions, (row + 1) * dimensions)).toString(),
        );
        expect(Buffer.concat([...matrixJson(vectors, dimensions)]).toString()).toBe(`[${rows.join(',')}]`);
      }),
      { numRuns: 50 },
    );
  });
});
