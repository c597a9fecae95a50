/**
 * A thread that does nothing but session.run: what Anchorage's HTTP path is measured against. It is handed padded batches
 * that were tokenized and sorted beforehand, and neither pools nor answers anybody.
 */
import { parentPort, workerData } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';

const { modelPath, threads, inputNames, batches, cursor } = workerData;
const next = new Int32Array(cursor);
const session = await ort.InferenceSession.create(modelPath, {
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  graphOptimizationLevel: 'all',
});
parentPort.postMessage('ready');

parentPort.on('message', async () => {
  for (let index = Atomics.add(next, 0, 1); index < batches.length; index = Atomics.add(next, 0, 1)) {
    const { ids, mask, rows, columns } = batches[index];
    const feeds = { input_ids: ids, attention_mask: mask, token_type_ids: new BigInt64Array(rows * columns) };
    await session.run(
      Object.fromEntries(inputNames.map((name) => [name, new ort.Tensor('int64', feeds[name], [rows, columns])])),
    );
  }
  parentPort.postMessage('done');
});
