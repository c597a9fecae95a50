/** fastembed from PyPI and from npm, over local files: both fetch their own models from a hub otherwise. */
import { join } from 'node:path';
import { openDriver } from './driver-process.js';
import { DRIVERS_FOLDER, npmEnvironment, pythonEnvironment } from './environment.js';
import type { Peer } from './peer.js';
import { openPythonDriver } from './sentence-transformers.js';

const PYPI = ['fastembed==0.9.1', 'onnxruntime==1.31.1'];
const NPM = ['fastembed@2.1.0'];

const python = (name: string, precision: Peer['precision'], file: string): Peer => ({
  name,
  kind: 'library',
  precision,
  pooling: 'own',
  packages: PYPI,
  open: ({ weights, threads }) =>
    openPythonDriver(
      pythonEnvironment('fastembed', PYPI),
      threads,
      ...['fastembed_driver.py', weights.folder, String(threads), file, weights.pooling],
    ),
});

export const fastembed: readonly Peer[] = [
  python('fastembed float32', 'float32', 'onnx/model.onnx'),
  python('fastembed int8', 'int8', 'onnx/model_quantized.onnx'),
  {
    name: 'fastembed (npm)',
    kind: 'library',
    precision: 'float32',
    pooling: 'own',
    packages: NPM,
    open: ({ weights, threads }) =>
      openDriver({
        program: process.execPath,
        args: [
          join(DRIVERS_FOLDER, 'fastembed-js.mjs'),
          npmEnvironment('fastembed-js', NPM),
          weights.folder,
          String(weights.maxTokens),
        ],
        threads,
      }),
  },
];
