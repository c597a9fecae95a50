/**
 * Nothing but forward passes over length-sorted batches, in onnxruntime-node or in the native encoder: the ceiling that serving
 * is measured against.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Engine, EngineInUse } from '../src/model/encoder.js';
import type { Manifest } from '../src/model/manifest.js';

export interface BareLoopOptions {
  /** Of the model version. */
  readonly folder: string;
  readonly manifest: Manifest;
  readonly engine: Exclude<Engine, 'auto'>;
  /** Sessions, each in a thread of its own, and threads inside each. */
  readonly workers: number;
  readonly threadsPerWorker: number;
  /** Bound of texts x longest text of a batch. */
  readonly batchTokensMax: number;
}

/** The engine of a bare loop beside a server that uses `engine`. */
export const bareEngine = (engine: EngineInUse): BareLoopOptions['engine'] =>
  engine === 'onnxruntime' ? 'onnxruntime' : 'native';

interface Batch {
  readonly ids: BigInt64Array;
  readonly mask: BigInt64Array;
  /** The same without padding. */
  readonly packed: Int32Array;
  readonly lengths: Int32Array;
  readonly rows: number;
  readonly columns: number;
}

/** Sorted by length, cut where texts x longest would pass the budget, padded on the right. */
function sortedBatches(texts: readonly (readonly number[])[], batchTokensMax: number): Batch[] {
  const sorted = [...texts].sort((a, b) => a.length - b.length);
  const groups: (readonly number[])[][] = [];
  for (const ids of sorted) {
    const group = groups.at(-1);
    if (group && (group.length + 1) * ids.length <= batchTokensMax) group.push(ids);
    else groups.push([ids]);
  }
  // Longest first, so that no thread is left alone with a long batch at the end.
  return groups.reverse().map(padded);
}

function padded(group: readonly (readonly number[])[]): Batch {
  const columns = Math.max(...group.map((ids) => ids.length));
  const ids = new BigInt64Array(group.length * columns);
  const mask = new BigInt64Array(group.length * columns);
  for (const [row, tokens] of group.entries()) {
    for (const [column, id] of tokens.entries()) {
      ids[row * columns + column] = BigInt(id);
      mask[row * columns + column] = 1n;
    }
  }
  const lengths = Int32Array.from(group, (tokens) => tokens.length);
  return { ids, mask, packed: Int32Array.from(group.flat()), lengths, rows: group.length, columns };
}

export interface BareLoop {
  /** Runs every batch once. @returns seconds. */
  readonly run: () => Promise<number>;
  readonly close: () => Promise<void>;
}

/** @param texts token ids, special tokens included, one list a text. */
export async function openBareLoop(texts: readonly (readonly number[])[], options: BareLoopOptions): Promise<BareLoop> {
  const { folder, manifest, engine, workers: count, threadsPerWorker: threads } = options;
  const batches = sortedBatches(texts, options.batchTokensMax);
  const cursor = new SharedArrayBuffer(4);
  const workerData = { folder, manifest, engine, threads, batches, cursor };
  const url = new URL('./bare-session.mjs', import.meta.url);
  const workers = Array.from({ length: count }, () => new Worker(url, { workerData }));
  const all = (): Promise<unknown> => Promise.all(workers.map((worker) => once(worker, 'message')));
  await all();
  return {
    run: async () => {
      new Int32Array(cursor)[0] = 0;
      const start = performance.now();
      const done = all();
      for (const worker of workers) worker.postMessage('run');
      await done;
      return (performance.now() - start) / 1000;
    },
    close: async () => void (await Promise.all(workers.map((worker) => worker.terminate()))),
  };
}
