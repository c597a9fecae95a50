/**
 * Query drift compensation: where a new model serves before a collection is re-embedded, or where its documents have no
 * text, a linear map takes the new model's queries into the old model's space. Two are fitted from texts that both models
 * embedded, X [n, d] by the new and Y [n, e] by the old one, and the better on texts kept aside is taken:
 *
 *   orthogonal Procrustes   M = U V^T with X^T Y = U S V^T (Schönemann, Psychometrika 31, 1966): a rotation
 *   ridge                   M = (X^T X + λ n I)^-1 X^T Y, with λ chosen on texts kept aside
 *
 * Always true: what is reported was measured on texts that neither the fit nor the choice has seen.
 */

import { inverse, Matrix, SingularValueDecomposition } from 'ml-matrix';
import { AnchorageError } from '../errors.js';
import type { ModelIdentity } from '../index/collection-settings.js';
import { dot } from '../index/kernels.js';
import { mapVector, type QueryMap } from '../index/query-map.js';
import { neighbours, shareFound } from './nearest.js';

/** Rows of vectors of length 1: text i is row i of both. */
export interface EmbeddedTwice {
  /** [texts, from.dimensions] */
  readonly from: readonly Float32Array[];
  /** [texts, to.dimensions] */
  readonly to: readonly Float32Array[];
}

export const TEXTS_MIN = 100;
const LAMBDAS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2];
const TEN = { k: 10, leaveOutSelf: true };

/**
 * Seconds of computing: call it in a thread of its own. Every fifth text chooses, every fifth reports, three of five fit.
 * @throws AnchorageError VALIDATION for fewer than TEXTS_MIN texts.
 */
export function fitQueryMap(models: { from: ModelIdentity; to: ModelIdentity }, texts: EmbeddedTwice): QueryMap {
  const count = texts.from.length;
  if (count < TEXTS_MIN || texts.to.length !== count) {
    throw new AnchorageError('VALIDATION', `a map needs ${TEXTS_MIN} texts that both models embedded, not ${count}`);
  }
  const fitting = part(texts, (row) => row % 5 < 3);
  const choosing = part(texts, (row) => row % 5 === 3);
  const reporting = part(texts, (row) => row % 5 === 4);
  const candidates = candidateMaps(models, fitting);
  const chosen = candidates.reduce((best, one) =>
    meanCosine(one, choosing) > meanCosine(best, choosing) ? one : best,
  );
  return { ...chosen, heldOut: measured(chosen, reporting) };
}

/** A rotation, and ridge with several λ; nothing of them is measured yet. */
export function candidateMaps(
  models: { from: ModelIdentity; to: ModelIdentity },
  { from, to }: EmbeddedTwice,
): QueryMap[] {
  const x = new Matrix(from.map((row) => Array.from(row)));
  const y = new Matrix(to.map((row) => Array.from(row)));
  const xt = x.transpose();
  const [xx, xy] = [xt.mmul(x), xt.mmul(y)];
  const asMap = (method: QueryMap['method'], weights: Matrix): QueryMap => ({
    ...models,
    method,
    fittedFrom: from.length,
    heldOut: { texts: 0, cosine: 0, recallAt10: 0, recallAt10OfOldQueries: 0 },
    matrix: Float32Array.from(weights.transpose().to1DArray()),
  });
  const ridge = (lambda: number): QueryMap => {
    const regularized = Matrix.add(xx, Matrix.eye(xx.rows).mul(lambda * from.length));
    return asMap('ridge', inverse(regularized).mmul(xy));
  };
  return [asMap('procrustes', rotation(xy)), ...LAMBDAS.map(ridge)];
}

/** @param xy [d, e]. @returns the matrix [d, e] with orthonormal rows or columns that turns X nearest to Y. */
function rotation(xy: Matrix): Matrix {
  // ml-matrix wants at least as many rows as columns for thin factors.
  const isWide = xy.columns > xy.rows;
  const { leftSingularVectors: u, rightSingularVectors: v } = new SingularValueDecomposition(
    isWide ? xy.transpose() : xy,
    {
      computeLeftSingularVectors: true,
      computeRightSingularVectors: true,
    },
  );
  const turned = u.mmul(v.transpose());
  return isWide ? turned.transpose() : turned;
}

function measured(map: QueryMap, { from, to }: EmbeddedTwice): QueryMap['heldOut'] {
  const mapped = from.map((vector) => mapVector(map, vector));
  const wanted = neighbours(from, from, TEN);
  return {
    texts: from.length,
    cosine: meanCosine(map, { from, to }),
    recallAt10: shareFound(neighbours(mapped, to, TEN), wanted),
    recallAt10OfOldQueries: shareFound(neighbours(to, to, TEN), wanted),
  };
}

const meanCosine = (map: QueryMap, { from, to }: EmbeddedTwice): number =>
  from.reduce((sum, vector, row) => sum + dot(mapVector(map, vector), 0, to[row]!, map.to.dimensions), 0) / from.length;

const part = ({ from, to }: EmbeddedTwice, isIn: (row: number) => boolean): EmbeddedTwice => ({
  from: from.filter((_, row) => isIn(row)),
  to: to.filter((_, row) => isIn(row)),
});
