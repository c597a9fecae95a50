/** The machine's own limit, and what share of it an encoder reaches. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DRIVERS_FOLDER } from './environment.js';
import type { Weights } from './peer.js';
import { sentenceTransformersEnvironment } from './sentence-transformers.js';

/** In 1e9 operations a second. */
export interface MachinePeak {
  readonly float32: number;
  readonly int8: number;
}

export function machinePeak(threads: number): MachinePeak {
  const python = join(sentenceTransformersEnvironment(), 'bin', 'python');
  const script = join(DRIVERS_FOLDER, 'gemm_peak.py');
  const { stdout, stderr, status } = spawnSync(python, [script, String(threads)], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`gemm_peak.py failed: ${stderr.slice(-600)}`);
  return JSON.parse(stdout) as MachinePeak;
}

/**
 * Operations of a BERT encoder for a text of `tokens`, in its matrix products alone: a layer has four projections of
 * hidden x hidden, two of hidden x intermediate, and attention's two products of tokens x tokens x hidden.
 */
export function operationsOf(weights: Weights): (tokens: number) => number {
  const config = JSON.parse(readFileSync(join(weights.folder, 'config.json'), 'utf8')) as Record<string, number>;
  const { hidden_size: hidden, intermediate_size: intermediate, num_hidden_layers: layers } = config;
  const projections = 4 * hidden! * hidden! + 2 * hidden! * intermediate!;
  return (tokens) => 2 * layers! * tokens * (projections + 2 * tokens * hidden!);
}
