/** sentence-transformers on PyTorch, and on its ONNX backend with the int8 file that it publishes for such processors. */
import { join } from 'node:path';
import { openDriver } from './driver-process.js';
import { DRIVERS_FOLDER, pythonEnvironment } from './environment.js';
import type { OpenPeer, Peer, PeerContext } from './peer.js';

const PACKAGES = ['sentence-transformers[onnx]==5.7.0', 'torch==2.15.0', 'onnxruntime==1.31.1', 'transformers==4.57.6'];

export const sentenceTransformersEnvironment = (): string => pythonEnvironment('sentence-transformers', PACKAGES);

/** Runs one of bench/peers/drivers in sentence-transformers' environment. */
export const openPythonDriver = (environment: string, threads: number, ...args: string[]): Promise<OpenPeer> =>
  openDriver({
    program: join(environment, 'bin', 'python'),
    args: [join(DRIVERS_FOLDER, args[0]!), ...args.slice(1)],
    threads,
  });

const open =
  (...backend: string[]) =>
  ({ weights, threads }: PeerContext): Promise<OpenPeer> =>
    openPythonDriver(
      sentenceTransformersEnvironment(),
      threads,
      ...['sentence_transformers_driver.py', weights.folder, String(threads), ...backend],
    );

const shared = { kind: 'library', pooling: 'own', packages: PACKAGES } as const;

export const sentenceTransformers: readonly Peer[] = [
  { ...shared, name: 'sentence-transformers torch', precision: 'float32', open: open('torch') },
  {
    ...shared,
    name: 'sentence-transformers ONNX int8',
    precision: 'int8',
    open: open('onnx', 'onnx/model_quantized.onnx'),
  },
];
