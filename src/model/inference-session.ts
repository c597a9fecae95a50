/**
 * One ONNX Runtime session: a batch of token ids in, the outputs of the forward pass out. `run` blocks its thread, so a
 * session lives in a worker thread. Feeds are written into buffers that are kept from batch to batch.
 */
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { AnchorageError } from '../errors.js';
import type { BatchOutputs } from '../pooling/pool.js';
import { type Collect, garbageCollector } from './collect-garbage.js';
import type { Encoder, EncoderOptions, OutputName } from './encoder.js';
import type { Manifest } from './manifest.js';

export class EncoderSession implements Encoder {
  readonly engine = 'onnxruntime';
  readonly whyNotNative: string | undefined;
  readonly pads = true;
  readonly #session: InferenceSession;
  readonly #manifest: Manifest;
  readonly #ids = new Int64Buffer();
  readonly #mask = new Int64Buffer();
  readonly #types = new Int64Buffer();
  readonly #garbage = new OutputGarbage();

  static async load(options: EncoderOptions, whyNotNative?: string): Promise<EncoderSession> {
    const session = await createSession(options);
    const { inputs, outputs, exits } = options.manifest;
    const wanted = exits ? [...inputs, LAYERS_INPUT] : inputs;
    const unknown = wanted.filter((name) => !(name in feeders) || !session.inputNames.includes(name));
    const missing = Object.values(outputs).filter((name) => !session.outputNames.includes(name));
    if (unknown.length + missing.length > 0) {
      const graph = join(options.folder, 'model.onnx');
      throw new AnchorageError(
        'MODEL_INVALID',
        `${graph} does not have or take what its manifest lists: ${[...unknown, ...missing].join(', ')}`,
      );
    }
    return new EncoderSession(session, options.manifest, whyNotNative);
  }

  private constructor(session: InferenceSession, manifest: Manifest, whyNotNative: string | undefined) {
    this.#session = session;
    this.#manifest = manifest;
    this.whyNotNative = whyNotNative;
  }

  async run(
    ids: Int32Array,
    lengths: Int32Array,
    wanted: readonly OutputName[],
    layers = ALL_LAYERS,
  ): Promise<BatchOutputs> {
    const { paddingSide } = this.#manifest;
    const texts = lengths.length;
    const tokens = lengths.reduce((longest, length) => Math.max(longest, length), 1);
    this.#fill(ids, lengths, tokens);
    const shape = [texts, tokens];
    const feeds: Record<string, Tensor> = {};
    for (const name of this.#manifest.inputs) {
      feeds[name] = new Tensor('int64', this.#feed(name).view(texts * tokens), shape);
    }
    if (this.#manifest.exits) feeds[LAYERS_INPUT] = new Tensor('int64', BigInt64Array.of(BigInt(layers)), [1]);
    const names = this.#manifest.outputs;
    const results = await this.#session.run(
      feeds,
      wanted.map((output) => names[output]!),
      RUN_OPTIONS,
    );
    const tensors = wanted.map((output) => [output, results[names[output]!]!] as const);
    const outputs = Object.fromEntries(tensors.map(([output, { data }]) => [output, data as Float32Array]));
    this.#garbage.grew(tensors.reduce((sum, [, { data }]) => sum + (data as Float32Array).byteLength, 0));
    const states = tensors.find(([output]) => output === 'hiddenStates');
    const wide = states ?? tensors.find(([output]) => output === 'sentenceEmbedding');
    const hidden = wide?.[1].dims.at(-1) ?? this.#manifest.dimensions;
    return { texts, tokens, hidden, lengths, paddingSide, ...outputs };
  }

  #fill(ids: Int32Array, lengths: Int32Array, tokens: number): void {
    const { padTokenId, paddingSide } = this.#manifest;
    const size = lengths.length * tokens;
    const idWords = this.#ids.words(size);
    const maskWords = this.#mask.words(size);
    this.#types.words(size);
    let read = 0;
    for (let text = 0; text < lengths.length; text++) {
      const length = lengths[text]!;
      const padded = tokens - length;
      const start = paddingSide === 'left' ? padded : 0;
      for (let position = 0; position < tokens; position++) {
        const real = position >= start && position < start + length;
        const word = (text * tokens + position) * 2;
        idWords[word] = real ? ids[read++]! : padTokenId;
        maskWords[word] = real ? 1 : 0;
      }
    }
  }

  #feed(name: string): Int64Buffer {
    return { input_ids: this.#ids, attention_mask: this.#mask, token_type_ids: this.#types }[name as FeedName];
  }
}

/** Errors come back as exceptions; ONNX Runtime need not write them to standard error besides. */
const FATAL = 4;
const RUN_OPTIONS = { logSeverityLevel: FATAL } as const;

/** Of graphs with exits: how many layers are computed; a number that is no exit means all. */
const LAYERS_INPUT = 'layers';
const ALL_LAYERS = 0;

type FeedName = 'input_ids' | 'attention_mask' | 'token_type_ids';
const feeders: Record<FeedName | typeof LAYERS_INPUT, true> = {
  input_ids: true,
  attention_mask: true,
  token_type_ids: true,
  [LAYERS_INPUT]: true,
};

/**
 * A growing int64 buffer whose values are written as pairs of 32-bit words, because a BigInt for every token would cost
 * more than the rest of the preparation. Values are not negative, so the high words (the odd ones, on the little-endian
 * machines that ONNX Runtime is built for) stay zero.
 */
class Int64Buffer {
  #values = new BigInt64Array(0);
  #words = new Int32Array(0);

  words(size: number): Int32Array {
    if (this.#values.length < size) {
      this.#values = new BigInt64Array(grown(this.#values.length, size));
      this.#words = new Int32Array(this.#values.buffer);
    }
    return this.#words;
  }

  view(size: number): BigInt64Array {
    return this.#values.subarray(0, size);
  }
}

/** Outputs that may lie about before they are collected. */
const GARBAGE_BYTES_MAX = 4 * 1024 * 1024;

/**
 * The binding hands every output out in an array buffer of its own, up to a megabyte a batch, and a thread that allocates
 * hardly anything else collects seldom: 20 MB a thread lay about. A collection of the young generation costs 0.2 ms.
 */
class OutputGarbage {
  readonly #collect: Collect = garbageCollector();
  #bytes = 0;

  grew(bytes: number): void {
    if (this.#bytes + bytes > GARBAGE_BYTES_MAX) {
      this.#collect({ type: 'minor' });
      this.#bytes = 0;
    }
    this.#bytes += bytes;
  }
}

/** At least doubled: a thread that hardly allocates hardly collects, and keeps every buffer that was outgrown. */
const grown = (length: number, needed: number): number => Math.max(needed, 2 * length);

async function createSession({ folder, device, threads }: EncoderOptions): Promise<InferenceSession> {
  const path = join(folder, 'model.onnx');
  try {
    return await InferenceSession.create(path, {
      executionProviders: [device],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
      // Lengths differ from batch to batch: a pattern of allocations kept for each shape is memory that seldom serves again.
      enableMemPattern: false,
      logSeverityLevel: FATAL,
    });
  } catch (error) {
    const { message } = error as Error;
    if (device !== 'cpu') {
      throw new AnchorageError('CONFIG_INVALID', `device ${device} cannot be used here: ${message}`, { cause: error });
    }
    throw new AnchorageError('MODEL_INVALID', `${path} cannot be loaded: ${message}`, { cause: error });
  }
}
