/**
 * One model version, loaded: texts in, vectors out. Inputs and options are checked here, before any work is done on
 * them; the way of a text after that is embed-path.ts.
 */
import { availableParallelism } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AnchorageError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { finishVector } from '../pooling/pool.js';
import type { Tracer } from '../trace.js';
import { anchorsOf } from './anchors.js';
import type { Device } from './device.js';
import { EmbedPath } from './embed-path.js';
import { EmbedRequest, type Place } from './embed-request.js';
import type {
  Anchor,
  Anchors,
  Embeddings,
  EmbedInput,
  EmbedOptions,
  EmbedUsage,
  Token,
  TokenEmbeddings,
} from './embedding-types.js';
import type { Engine, EngineInUse } from './encoder.js';
import { checkNotEmpty, checkText, checkTokenIds, cutTokenIds, type LengthPolicy, tooLong } from './input.js';
import { type Manifest, readManifest, verifyFiles } from './manifest.js';
import { resolveDimensions, resolveExit, resolvePooling } from './pooling-choice.js';
import { RequestStages } from './request-stages.js';
import { type AskTokenizer, showTokens, spellIds } from './token-queries.js';
import type { Work } from './worker-messages.js';

/** What the embed path may use; the same for every model version that is loaded. */
export interface EmbedderLimits {
  /** Inference threads, each with a session of its own; 0: as many as keep every core busy. */
  readonly workers: number;
  /** Threads inside one session's operators. */
  readonly threadsPerWorker: number;
  /** Bound of a batch's padded cost: texts x longest text, in tokens. A single longer text goes alone. */
  readonly batchTokensMax: number;
  /** Texts that may be under way in each lane; more are refused with OVERLOADED. */
  readonly queueTextsMax: number;
  /** Bound of the embedding cache; 0 turns it off. */
  readonly cacheBytesMax: number;
  readonly engine: Engine;
  readonly device: Device;
  readonly metrics: Metrics;
  /** Absent: nothing is traced. */
  readonly tracer?: Tracer | undefined;
}

export interface EmbedderOptions extends EmbedderLimits {
  /** A model version folder: `<modelsDir>/<name>/<version>`. */
  readonly folder: string;
}

export interface EmbedderHealth {
  /** Texts can be embedded: threads run, and forward passes succeed. */
  readonly ready: boolean;
  /** Why it is not ready; undefined when it is. */
  readonly problem: string | undefined;
  /** Milliseconds since the last forward pass that succeeded. */
  readonly lastForwardPassMs: number;
  /** Texts that wait for a thread, both lanes. */
  readonly queuedTexts: number;
}

/** Inputs handed in between two turns of the event loop: a few milliseconds of hashing and posting. */
const INPUTS_A_TURN = 128;
/** Answer of /embed_all: 256 MiB of token vectors. */
const TOKEN_VECTORS_BYTES_MAX = 256 * 1024 * 1024;
export class Embedder {
  readonly manifest: Manifest;
  readonly #path: EmbedPath;
  readonly #tracer: Tracer | undefined;
  #probeProblem: string | undefined;
  #probing: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /** Starts the threads, each with a forward pass, while the folder's hashes are verified. */
  static async load(options: EmbedderOptions): Promise<Embedder> {
    const { folder, threadsPerWorker, engine, device } = options;
    const manifest = await readManifest(folder);
    const workers = options.workers || Math.max(1, Math.floor(availableParallelism() / threadsPerWorker));
    const data = { folder, manifest, engine, device, threads: threadsPerWorker };
    const [path, verified] = await Promise.allSettled([
      EmbedPath.open({ ...options, workers, data }),
      verifyFiles(folder, manifest),
    ]);
    // A damaged file explains whatever the threads made of it.
    if (verified.status === 'rejected') {
      if (path.status === 'fulfilled') await path.value.close();
      throw verified.reason;
    }
    if (path.status === 'rejected') throw path.reason;
    return new Embedder(manifest, path.value, options.tracer);
  }

  private constructor(manifest: Manifest, path: EmbedPath, tracer: Tracer | undefined) {
    this.manifest = manifest;
    this.#path = path;
    this.#tracer = tracer;
  }

  /** What computes the forward passes. */
  get engine(): EngineInUse {
    return this.#path.inferenceInfo.engine;
  }

  /** Why that is not native code; undefined where it is, or where that was not wanted. */
  get whyNotNative(): string | undefined {
    return this.#path.inferenceInfo.whyNotNative;
  }

  /** One more than the highest token id. */
  get vocabularySize(): number {
    return this.#path.tokenizerInfo.vocabularySize;
  }

  /** Whether nothing that was accepted is left to be answered. */
  get idle(): boolean {
    return this.#path.idle;
  }

  /** One vector an input, in the order of the inputs. */
  async embed(inputs: readonly EmbedInput[], options: EmbedOptions): Promise<Embeddings> {
    const { manifest } = this;
    const pooling = resolvePooling(manifest, options.pooling);
    const full = pooling.mode === 'graph' ? manifest.dimensions : this.#hidden;
    const { layers } = options;
    const dimensions =
      layers === undefined
        ? resolveDimensions(options.dimensions, full)
        : resolveExit(manifest, layers, options.dimensions);
    const normalize = options.normalize ?? manifest.normalize;
    const vectors = new Float32Array(inputs.length * dimensions);
    const usage = await this.#compute(inputs, options, { kind: 'vectors', pooling, layers }, (index, pooled) => {
      finishVector(pooled, normalize, vectors.subarray(index * dimensions, (index + 1) * dimensions));
    });
    return { ...usage, vectors, count: inputs.length, dimensions };
  }

  /** One vector a token, special tokens included; `options.pooling` is not read, `options.layers` is refused. */
  async embedTokens(inputs: readonly EmbedInput[], options: EmbedOptions): Promise<TokenEmbeddings> {
    resolvePooling(this.manifest, { mode: 'mean' });
    if (options.layers !== undefined) {
      throw new AnchorageError('VALIDATION', 'layers is for pooled vectors only; leave it out here', {
        field: 'layers',
      });
    }
    const hidden = this.#hidden;
    const dimensions = resolveDimensions(options.dimensions, hidden);
    const normalize = options.normalize ?? this.manifest.normalize;
    const tokenVectors: Float32Array[] = new Array(inputs.length);
    let bytes = 0;
    const usage = await this.#compute(inputs, options, { kind: 'tokens' }, (index, states) => {
      const tokens = states.length / hidden;
      bytes += tokens * dimensions * Float32Array.BYTES_PER_ELEMENT;
      if (bytes > TOKEN_VECTORS_BYTES_MAX) throw tooManyTokenVectors(options.field);
      const vectors = new Float32Array(tokens * dimensions);
      for (let t = 0; t < tokens; t++) {
        const state = states.subarray(t * hidden, (t + 1) * hidden);
        finishVector(state, normalize, vectors.subarray(t * dimensions, (t + 1) * dimensions));
      }
      tokenVectors[index] = vectors;
    });
    return { ...usage, tokenVectors, dimensions };
  }

  /** Which tokens each input's embedding hangs on, by ATA with the asked or the model's own gamma. */
  async anchors(inputs: readonly EmbedInput[], options: EmbedOptions): Promise<Anchors> {
    const { gamma } = resolvePooling(this.manifest, { ...options.pooling, mode: 'ata' });
    const { prefix, suffix, spellings } = this.#path.tokenizerInfo;
    const specialTokens = new Set([...prefix, ...suffix]);
    const spelled = new Map([...spellings, ...(await this.#path.answering(() => spellIds(this.#ask, inputs)))]);
    const promptLength = options.prompt?.length ?? 0;
    const anchors: Anchor[][] = new Array(inputs.length);
    const usage = await this.#compute(inputs, options, { kind: 'anchors', gamma }, (index, weights, task) => {
      const input = inputs[index]!;
      const text = typeof input === 'string' ? input : undefined;
      anchors[index] = anchorsOf(task!, weights, { text, promptLength, specialTokens, spellings: spelled });
    });
    return { ...usage, anchors };
  }

  /** The tokens of whole texts, never cut. */
  async tokenize(texts: readonly string[], { addSpecialTokens }: { addSpecialTokens: boolean }): Promise<Token[][]> {
    this.#checkOpen();
    return this.#path.answering(() => showTokens(this.#ask, texts, addSpecialTokens));
  }

  async decode(
    ids: readonly (readonly number[])[],
    { skipSpecialTokens }: { skipSpecialTokens: boolean },
  ): Promise<string[]> {
    this.#checkOpen();
    for (const [i, list] of ids.entries()) {
      if (list.length > 0) checkTokenIds(list, `ids[${i}]`, this.vocabularySize);
    }
    const reply = await this.#path.answering(() => this.#ask({ kind: 'decode', ids, skipSpecialTokens }));
    return reply as string[];
  }

  /** How it stands. Where it is not ready, a probe is started: without requests nothing else would find the way back. */
  health(): EmbedderHealth {
    const problem = this.#closing ? 'the model version is being closed' : (this.#path.problem ?? this.#probeProblem);
    if (problem !== undefined && !this.#closing) this.#probing ??= this.#probeInBackground();
    return {
      ready: problem === undefined,
      problem,
      lastForwardPassMs: performance.now() - this.#path.succeededAt,
      queuedTexts: this.#path.queuedTexts,
    };
  }

  /** Runs one real forward pass, in the query lane; rejects with UNHEALTHY where it fails. */
  async probe(): Promise<void> {
    try {
      const ids = [this.manifest.padTokenId, this.manifest.padTokenId];
      const pooling = resolvePooling(this.manifest, undefined);
      await this.#compute([ids], { lane: 'query' }, { kind: 'vectors', pooling }, () => {}, true);
      this.#probeProblem = undefined;
    } catch (error) {
      this.#probeProblem = `the last probe failed: ${(error as Error).message}`;
      throw new AnchorageError('UNHEALTHY', this.#probeProblem, { cause: error });
    }
  }

  async #probeInBackground(): Promise<void> {
    // What it found is in probeProblem.
    await this.probe().catch(() => undefined);
    this.#probing = undefined;
  }

  /** Refuses what comes, answers what was accepted, then ends the threads. */
  close(): Promise<void> {
    this.#closing ??= this.#path.drain().then(() => this.#path.close());
    return this.#closing;
  }

  /** Length of a hidden state. Only asked for where the graph has them. */
  get #hidden(): number {
    return this.#path.inferenceInfo.hidden ?? this.manifest.dimensions;
  }

  async #compute(
    inputs: readonly EmbedInput[],
    options: EmbedOptions,
    work: Work,
    place: Place,
    fresh = false,
  ): Promise<EmbedUsage> {
    this.#checkOpen();
    const { field = 'inputs', firstIndex = 0, signal, lane } = options;
    checkNotEmpty(inputs, field);
    this.#path.takeRoom(lane, inputs.length);
    const request = new EmbedRequest({
      count: inputs.length,
      field,
      firstIndex,
      place,
      signal,
      stages: this.#tracer && new RequestStages(this.#tracer),
      onLeave: (task) => this.#path.left(task),
    });
    await this.#handIn(request, inputs, { options, work, fresh });
    return request.finished;
  }

  /** Submits the inputs until one of them fails the request; gives up the room of those that are left. */
  async #handIn(
    request: EmbedRequest,
    inputs: readonly EmbedInput[],
    { options, work, fresh }: { options: EmbedOptions; work: Work; fresh: boolean },
  ): Promise<void> {
    const { field = 'inputs', firstIndex = 0, lane } = options;
    const policy = this.#policy(options);
    let left = inputs.length;
    try {
      for (let index = 0; index < inputs.length; index++) {
        if (index % INPUTS_A_TURN === INPUTS_A_TURN - 1) await nextTurn();
        if (request.over) break;
        const prepared = this.#prepare(inputs[index]!, `${field}[${firstIndex + index}]`, options, policy);
        request.countCharacters(prepared.characters);
        left--;
        this.#path.submit({ request, index, ...prepared, work, lane, policy, fresh });
      }
    } catch (error) {
      request.fail(error as Error);
    } finally {
      this.#path.leaveRoom(lane, left);
    }
  }

  #prepare(input: EmbedInput, field: string, { prompt = '' }: EmbedOptions, policy: LengthPolicy) {
    if (typeof input === 'string') {
      return { input: prompt + input, truncated: false, characters: checkText(input, field) };
    }
    checkTokenIds(input, field, this.vocabularySize);
    if (!policy.truncate && input.length > policy.maxTokens) throw tooLong(field, input.length, policy.maxTokens);
    const { ids, truncated } = cutTokenIds(input, policy, this.#path.tokenizerInfo);
    return { input: ids, truncated, characters: 0 };
  }

  #policy({ truncate = true, truncationDirection = 'right' }: EmbedOptions): LengthPolicy {
    return { maxTokens: this.manifest.maxTokens, truncate, direction: truncationDirection };
  }

  readonly #ask: AskTokenizer = (request) => this.#path.ask(request);

  #checkOpen(): void {
    if (this.#closing) throw new AnchorageError('UNHEALTHY', 'this model version is being closed');
  }
}

function tooManyTokenVectors(field = 'inputs'): AnchorageError {
  const limit = `${TOKEN_VECTORS_BYTES_MAX / 1024 / 1024} MiB`;
  return new AnchorageError(
    'PAYLOAD_TOO_LARGE',
    `${field}: the token vectors exceed ${limit}; send fewer or shorter texts`,
  );
}
