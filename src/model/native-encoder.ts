/**
 * An encoder in native code: static int8 without padding, on the processor's own matrix instructions. Its weights are
 * shared by all threads of the process, and its buffers are kept from batch to batch.
 */
import { readFileSync } from 'node:fs';
import type { BatchOutputs } from '../pooling/pool.js';
import { garbageCollector } from './collect-garbage.js';
import type { Encoder, EngineInUse, OutputName } from './encoder.js';
import type { Manifest } from './manifest.js';
import type { Instructions, NativeAddon, NativeHandle } from './native-addon.js';
import { readStaticInt8 } from './static-int8.js';

export interface NativeOptions {
  readonly addon: NativeAddon;
  readonly instructions: Instructions;
  readonly manifest: Manifest;
  /** The ONNX file. */
  readonly graph: string;
}

class OtherForm extends Error {}

export class NativeEncoder implements Encoder {
  readonly engine: EngineInUse;
  readonly pads = false;
  readonly #addon: NativeAddon;
  readonly #handle: NativeHandle;
  readonly #hidden: number;
  readonly #layers: number;
  #hiddenStates = new Float32Array(0);
  #receivedAttention = new Float32Array(0);

  /** Undefined where the graph is of another form. */
  static open(options: NativeOptions): NativeEncoder | undefined {
    try {
      return new NativeEncoder(options);
    } catch (error) {
      if (error instanceof OtherForm) return undefined;
      throw error;
    }
  }

  private constructor({ addon, instructions, manifest, graph }: NativeOptions) {
    this.engine = `native-${instructions}`;
    this.#addon = addon;
    this.#hidden = manifest.dimensions;
    let bytes: Uint8Array | undefined;
    this.#handle = addon.open(manifest.files['model.onnx']!.sha256, instructions, () => {
      bytes = readFileSync(graph);
      const weights = readStaticInt8(bytes);
      if (!weights || weights.hidden !== manifest.dimensions) throw new OtherForm();
      return weights;
    });
    this.#layers = addon.layers(this.#handle);
    if (bytes) letGo(bytes);
  }

  async run(
    ids: Int32Array,
    lengths: Int32Array,
    wanted: readonly OutputName[],
    layers: number | undefined,
  ): Promise<BatchOutputs> {
    const texts = lengths.length;
    const tokens = lengths.reduce((longest, length) => Math.max(longest, length), 1);
    const rows = texts * tokens;
    const outputs: { -readonly [Name in keyof BatchOutputs]: BatchOutputs[Name] } = {
      ...{ texts, tokens, hidden: this.#hidden, lengths, paddingSide: 'right' },
    };
    if (wanted.includes('hiddenStates')) {
      this.#hiddenStates = atLeast(this.#hiddenStates, rows * this.#hidden);
      outputs.hiddenStates = this.#hiddenStates;
    }
    if (wanted.includes('receivedAttention')) {
      this.#receivedAttention = atLeast(this.#receivedAttention, rows);
      outputs.receivedAttention = this.#receivedAttention;
    }
    const { hiddenStates, receivedAttention } = outputs;
    this.#addon.encode(this.#handle, ids, lengths, layers ?? this.#layers, tokens, hiddenStates, receivedAttention);
    return outputs;
  }
}

/**
 * Native code has its own copy by now. V8 kept the file's bytes through four full collections: whatever refers to them, what
 * they are moved to is referred to by nobody.
 */
function letGo(bytes: Uint8Array): void {
  structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
  garbageCollector()({ type: 'major' });
}

const atLeast = (array: Float32Array<ArrayBuffer>, length: number): Float32Array<ArrayBuffer> =>
  array.length >= length ? array : new Float32Array(length);
