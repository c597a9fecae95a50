/** What runs a model's forward passes, and which of them a model and a machine get. */
import { join } from 'node:path';
import { AnchorageError } from '../errors.js';
import type { BatchOutputs } from '../pooling/pool.js';
import type { Device } from './device.js';
import type { Manifest } from './manifest.js';
import { type Instructions, nativeAddon } from './native-addon.js';
import { NativeEncoder } from './native-encoder.js';

/** `native` is our own code for int8 on x64 (native/), `auto` takes it where it can. */
export const ENGINES = ['auto', 'native', 'onnxruntime'] as const;
export type Engine = (typeof ENGINES)[number];

/** What an engine turned out to be: ONNX Runtime, or native code for a set of instructions. */
export type EngineInUse = 'onnxruntime' | `native-${Instructions}`;

export type OutputName = keyof Manifest['outputs'];

export interface Encoder {
  readonly engine: EngineInUse;
  /** Why it is not native code; absent where it is, or where that was not wanted. */
  readonly whyNotNative?: string | undefined;
  /** Whether it computes every text of a batch to the length of the longest. */
  readonly pads: boolean;
  /**
   * One forward pass. `ids` are the token ids of all texts in a row, `lengths` the tokens of each; `layers` is one of the
   * manifest's exits, or absent for all layers. What it returns holds until the next call.
   */
  run(
    ids: Int32Array,
    lengths: Int32Array,
    wanted: readonly OutputName[],
    layers: number | undefined,
  ): Promise<BatchOutputs>;
}

export interface EncoderOptions {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly engine: Engine;
  readonly device: Device;
  /** Threads inside the operators. */
  readonly threads: number;
}

/** Throws CONFIG_INVALID where the engine that was asked for cannot run the model here, MODEL_INVALID for a broken graph. */
export async function loadEncoder(options: EncoderOptions): Promise<Encoder> {
  const native = options.engine === 'onnxruntime' ? undefined : openNative(options);
  if (native instanceof NativeEncoder) return native;
  if (options.engine === 'native') {
    throw new AnchorageError('CONFIG_INVALID', `engine native cannot be used: ${native}`);
  }
  // Only now: where it is not needed, its library takes no memory.
  const { EncoderSession } = await import('./inference-session.js');
  return EncoderSession.load(options, native);
}

/** Or why not. */
function openNative({ folder, manifest, device, threads }: EncoderOptions): NativeEncoder | string {
  if (device !== 'cpu') return `it runs on the CPU, and the device is ${device}`;
  if (threads > 1) return 'it has one thread a worker; set --workers instead of --threads-per-worker';
  if (manifest.quantization !== 'int8' || !manifest.batchInvariant) {
    return `it runs static int8, and ${manifest.name}@${manifest.version} is ${manifest.quantization}`;
  }
  const addon = nativeAddon();
  if (typeof addon === 'string') return addon;
  const instructions = addon.instructions();
  if (instructions === 'none') return 'this processor has no AVX-512 VNNI';
  const graph = join(folder, 'model.onnx');
  const encoder = NativeEncoder.open({ addon, instructions, manifest, graph });
  return encoder ?? `${graph} is not a BERT encoder that this trainer exported in static int8`;
}
