import { describe, expect, it } from 'vitest';
import { maxSim } from '../../src/pooling/late-interaction.js';

const matrix = (...rows: number[][]): Float32Array =>
  Float32Array.from(rows.flatMap((row) => row.map((value) => value / Math.hypot(...row))));

describe('maxSim', () => {
  it('is 1 where the passage holds every token of the query, in any order', () => {
    const query = matrix([1, 0, 0], [0, 1, 0]);
    expect(maxSim(query, matrix([0, 1, 0], [0, 0, 1], [1, 0, 0]), 3)).toBeCloseTo(1, 6);
  });

  it('is the mean of the best cosines, by hand', () => {
    // First token: 0.6 is the best of (0, 0.6); second: 0.8 of (0, 0.8); mean 0.7.
    expect(maxSim(matrix([1, 0, 0], [0, 1, 0]), matrix([0, 0, 1], [0.6, 0.8, 0]), 3)).toBeCloseTo(0.7, 6);
  });

  it('is negative where all point away', () => {
    expect(maxSim(matrix([1, 0, 0, 0, 0]), matrix([-1, 0, 0, 0, 0]), 5)).toBeCloseTo(-1, 6);
  });

  it('counts every dimension, whatever their number is a multiple of', () => {
    for (const dimensions of [1, 3, 4, 5, 8, 11]) {
      const row = Array.from({ length: dimensions }, (_, i) => i + 1);
      expect(maxSim(matrix(row), matrix(row), dimensions)).toBeCloseTo(1, 6);
    }
  });
});
