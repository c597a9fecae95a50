/** A bare onnxruntime-node loop over length-sorted batches: the ceiling that serving is measured against. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface BareLoopOptions {
  readonly modelPath: string;
  readonly inputNames: readonly string[];
  /** Sessions, each in a thread of its own, and threads inside each. */
  readonly workers: number;
  readonly threadsPerWorker: number;
  /** Bound of texts x longest text of a batch. */
  readonly batchTokensMax: number;
}

interface Batch {
  readonly ids: BigInt64Array;
  readonly mask: BigInt64Array;
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
  return { ids, mask, rows: group.length, columns };
}

export interface BareLoop {
  /** Runs every batch once. @returns seconds. */
  readonly run: () => Promise<number>;
  readonly close: () => Promise<void>;
}

/** @param texts token ids, special tokens included, one list a text. */
export async function openBareLoop(texts: readonly (readonly number[])[], options: BareLoopOptions): Promise<BareLoop> {
  const { modelPath, inputNames, workers: count, threadsPerWorker: threads } = options;
  const batches = sortedBatches(texts, options.batchTokensMax);
  const cursor = new SharedArrayBuffer(4);
  const workerData = { modelPath, threads, inputNames, batches, cursor };
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
