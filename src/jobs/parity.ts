/** How near a version's graph came to its PyTorch model when it was exported: the manifest's own figures, held to a bound. */
import type { Manifest } from '../model/manifest.js';
import { JobFailure, type Json } from './job.js';

/** Least mean cosine; the trainer publishes nothing below its own, stricter bounds. */
const MEAN_COSINE_MIN = 0.98;

/** @returns the figures, null where the version was imported and none were measured. @throws JobFailure `parity`. */
export function checkParity({ name, version, evaluation }: Manifest): Json | null {
  const rows = evaluation.filter(({ set }) => set === 'reference_texts');
  if (rows.length === 0) return null;
  const figures = Object.fromEntries(rows.map(({ metric, value }) => [metric, value]));
  const { mean_cosine: mean } = figures;
  if (mean === undefined || mean >= MEAN_COSINE_MIN) return figures;
  throw new JobFailure(
    'parity',
    `${name}@${version} was exported with a mean cosine of ${mean} to its PyTorch model; ${MEAN_COSINE_MIN} is wanted`,
  );
}
