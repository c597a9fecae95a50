/**
 * A thread that does nothing but forward passes: what Anchorage's HTTP path is measured against. It is handed batches that were
 * tokenized and sorted beforehand, and neither pools nor answers anybody.
 */
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';

const { folder, manifest, engine, threads, batches, cursor } = workerData;
const next = new Int32Array(cursor);
const forward = engine === 'native' ? await nativePass() : await sessionPass();
parentPort.postMessage('ready');

parentPort.on('message', async () => {
  for (let index = Atomics.add(next, 0, 1); index < batches.length; index = Atomics.add(next, 0, 1)) {
    await forward(batches[index]);
  }
  parentPort.postMessage('done');
});

async function sessionPass() {
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(join(folder, 'model.onnx'), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
  });
  return ({ ids, mask, rows, columns }) => {
    const feeds = { input_ids: ids, attention_mask: mask, token_type_ids: new BigInt64Array(rows * columns) };
    const tensors = manifest.inputs.map((name) => [name, new ort.Tensor('int64', feeds[name], [rows, columns])]);
    return session.run(Object.fromEntries(tensors));
  };
}

/** As the server has it: benches build dist/ first. */
async function nativePass() {
  const { loadEncoder } = await import('../dist/model/encoder.js');
  const encoder = await loadEncoder({ folder, manifest, engine, device: 'cpu', threads });
  return ({ packed, lengths }) => encoder.run(packed, lengths, ['hiddenStates', 'receivedAttention'], undefined);
}
