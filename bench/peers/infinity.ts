/** infinity with its PyTorch engine, and with its ONNX engine on the int8 file. */
import { join } from 'node:path';
import { pythonEnvironment } from './environment.js';
import type { Peer } from './peer.js';
import { freePort, openServer } from './server-peer.js';

/** The release wants the optimum of its time; newer click and typer break its command line. */
const PACKAGES = ['infinity-emb[server,optimum,torch]==0.0.78', 'torch==2.15.0', 'onnxruntime==1.31.1'];
const MODEL = 'local';

const infinityOn = (precision: Peer['precision'], engineFlags: readonly string[]): Peer => ({
  name: `infinity ${engineFlags[1]} ${precision}`,
  kind: 'server',
  precision,
  pooling: 'mean',
  packages: PACKAGES,
  open: async ({ weights, threads }) => {
    const environment = pythonEnvironment('infinity', PACKAGES);
    const port = String(await freePort());
    return openServer({
      program: join(environment, 'bin', 'infinity_emb'),
      args: [
        ...['v2', '--model-id', weights.folder, '--served-model-name', MODEL, ...engineFlags, '--device', 'cpu'],
        ...[
          '--pooling-method',
          'mean',
          '--host',
          '127.0.0.1',
          '--port',
          port,
          '--log-level',
          'error',
          '--url-prefix',
          '/v1',
        ],
      ],
      env: { OMP_NUM_THREADS: String(threads), HF_HUB_OFFLINE: '1', DO_NOT_TRACK: '1' },
      endpoint: { url: `http://127.0.0.1:${port}`, model: MODEL },
    });
  },
});

export const infinity: readonly Peer[] = [
  infinityOn('float32', ['--engine', 'torch', '--no-compile', '--no-bettertransformer']),
  infinityOn('int8', ['--engine', 'optimum', '--no-onnx-do-not-prefer-quantized']),
];
