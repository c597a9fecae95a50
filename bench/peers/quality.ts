/** How near a peer's vectors come to the float32 reference with its own pooling, and whether a text's neighbours move them. */

import type { OpenPeer, Peer, Weights } from './peer.js';
import { openPythonDriver, sentenceTransformersEnvironment } from './sentence-transformers.js';

export interface References {
  /** Pooled as the weights want it. */
  readonly own: readonly Float32Array[];
  readonly ata: readonly Float32Array[];
}

/** Of PyTorch with eager attention, each text alone. @param gamma of the anchor-token-aware pooling. */
export async function referenceVectors(weights: Weights, texts: readonly string[], gamma: number): Promise<References> {
  const args = ['reference.py', weights.folder, String(weights.maxTokens), weights.pooling, String(gamma)];
  const driver = await openPythonDriver(sentenceTransformersEnvironment(), 1, ...args);
  const rows = await driver.vectors(texts, 1);
  await driver.close();
  const half = rows[0]!.length / 2;
  return { own: rows.map((row) => row.subarray(0, half)), ata: rows.map((row) => row.subarray(half)) };
}

export interface Quality {
  readonly meanCosine: number;
  readonly worstCosine: number;
  /** Worst cosine between a text alone and the same text among texts of every length. */
  readonly worstAcrossBatches: number;
}

export async function qualityOf(
  peer: Peer,
  open: OpenPeer,
  texts: readonly string[],
  references: References,
): Promise<Quality> {
  const together = await open.vectors(texts, Math.max(...open.batchSizes));
  const alone = await open.vectors(texts, 1);
  const toReference = together.map((vector, i) => cosine(vector, references[peer.pooling][i]!));
  const acrossBatches = together.map((vector, i) => cosine(vector, alone[i]!));
  return {
    meanCosine: toReference.reduce((sum, one) => sum + one, 0) / toReference.length,
    worstCosine: Math.min(...toReference),
    worstAcrossBatches: Math.min(...acrossBatches),
  };
}

function cosine(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return dot / Math.sqrt(aa * bb);
}
