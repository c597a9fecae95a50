/** infinity with its PyTorch engine, and with its ONNX engine on the int8 file. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { once, pythonEnvironment } from './environment.js';
import type { Peer, Weights } from './peer.js';
import { freePort, openServer } from './server-peer.js';

/** The release wants the optimum of its time; newer click and typer break its command line. */
const PACKAGES = ['infinity-emb[server,optimum,torch]==0.0.78', 'torch==2.15.0', 'onnxruntime==1.31.1'];
const MODEL = 'local';

/** Its ONNX engine finds the graph only where it lies beside config.json and the folder is the one that it runs in. */
const flattened = (weights: Weights): string =>
  once(`infinity-${weights.name}`, [weights.folder, 'flattened'], (folder) => {
    cpSync(weights.folder, folder, { recursive: true, filter: (from) => !from.endsWith('onnx') });
    cpSync(join(weights.folder, 'onnx', 'model_quantized.onnx'), join(folder, 'model_quantized.onnx'));
  });

const infinityOn = (precision: Peer['precision'], engineFlags: readonly string[]): Peer => ({
  name: `infinity ${engineFlags[1]} ${precision}`,
  kind: 'server',
  precision,
  pooling: 'own',
  packages: PACKAGES,
  open: async ({ weights, threads }) => {
    const environment = pythonEnvironment('infinity', PACKAGES);
    const port = String(await freePort());
    return openServer({
      cwd: flattened(weights),
      program: join(environment, 'bin', 'infinity_emb'),
      args: [
        ...['v2', '--model-id', '.', '--served-model-name', MODEL, ...engineFlags, '--device', 'cpu'],
        ...['--pooling-method', weights.pooling, '--host', '127.0.0.1', '--port', port, '--log-level', 'error'],
        ...['--url-prefix', '/v1'],
      ],
      env: {
        OMP_NUM_THREADS: String(threads),
        HF_HUB_OFFLINE: '1',
        HF_HOME: join(environment, 'hub'),
        DO_NOT_TRACK: '1',
      },
      endpoint: { url: `http://127.0.0.1:${port}`, model: MODEL },
    });
  },
});

export const infinity: readonly Peer[] = [
  infinityOn('float32', ['--engine', 'torch', '--no-compile', '--no-bettertransformer']),
  infinityOn('int8', ['--engine', 'optimum', '--no-onnx-do-not-prefer-quantized']),
];
