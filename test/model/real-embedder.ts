/** A committed model, whose vectors PyTorch is known for, behind real worker threads, for tests. */
import { fileURLToPath } from 'node:url';
import { createMetrics } from '../../src/metrics.js';
import { Embedder, type EmbedderOptions } from '../../src/model/embedder.js';

export const modelsDir = fileURLToPath(new URL('../../models', import.meta.url));
export const defaultFolder = `${modelsDir}/all-minilm-l6-v2/1-int8`;

export const limits = () => ({
  workers: 2,
  threadsPerWorker: 1,
  batchTokensMax: 1024,
  queueTextsMax: 5000,
  cacheBytesMax: 1 << 22,
  engine: 'auto' as const,
  device: 'cpu' as const,
  metrics: createMetrics(),
});

export function loadEmbedder(options: Partial<EmbedderOptions> = {}): Promise<Embedder> {
  return Embedder.load({ ...limits(), folder: defaultFolder, ...options });
}

export function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
