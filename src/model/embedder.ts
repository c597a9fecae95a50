import type { Metrics } from '../metrics.js';
import type { Device } from './device.js';
import type { Anchors, Embeddings, EmbedInput, EmbedOptions, Token, TokenEmbeddings } from './embedding-types.js';
import type { Manifest } from './manifest.js';

/** What the embed path may use; the same for every model version that is loaded. */
export interface EmbedderLimits {
  /** Inference threads, each with a session of its own; 0 chooses by the number of cores. */
  readonly workers: number;
  /** Threads inside one session's operators; 0 chooses by the number of cores. */
  readonly threadsPerWorker: number;
  /** Bound of a batch's padded cost: texts x longest text, in tokens. A single longer text goes alone. */
  readonly batchTokensMax: number;
  /** Texts that may wait in each lane; more are refused with OVERLOADED. */
  readonly queueTextsMax: number;
  /** Bound of the embedding cache; 0 turns it off. */
  readonly cacheBytesMax: number;
  readonly device: Device;
  readonly metrics: Metrics;
}

export interface EmbedderOptions extends EmbedderLimits {
  /** A model version folder: `<modelsDir>/<name>/<version>`. */
  readonly folder: string;
}

export interface EmbedderHealth {
  /** Loaded, a worker is alive, and the newest forward pass succeeded. */
  readonly ready: boolean;
  /** Why it is not ready; undefined when it is. */
  readonly problem: string | undefined;
  /** Milliseconds since the last forward pass that succeeded; undefined before the first. */
  readonly lastForwardPassMs: number | undefined;
  /** Texts that wait for a worker, both lanes. */
  readonly queuedTexts: number;
}

/** One model version, loaded: texts in, vectors out. */
export class Embedder {
  readonly manifest: Manifest;

  private constructor(manifest: Manifest) {
    this.manifest = manifest;
  }

  /** Verifies the folder's hashes, starts the threads, and runs one forward pass. */
  static load(_options: EmbedderOptions): Promise<Embedder> {
    throw new Error('not written yet');
  }

  /** Number of entries of the vocabulary; token ids are below it. */
  get vocabularySize(): number {
    throw new Error('not written yet');
  }

  /** One vector an input, in the order of the inputs. */
  embed(_inputs: readonly EmbedInput[], _options: EmbedOptions): Promise<Embeddings> {
    throw new Error('not written yet');
  }

  /** One vector a token, special tokens included; `options.pooling` is ignored. */
  embedTokens(_inputs: readonly EmbedInput[], _options: EmbedOptions): Promise<TokenEmbeddings> {
    throw new Error('not written yet');
  }

  /** Which tokens each input's embedding hangs on. */
  anchors(_inputs: readonly EmbedInput[], _options: EmbedOptions): Promise<Anchors> {
    throw new Error('not written yet');
  }

  tokenize(_texts: readonly string[], _options: { addSpecialTokens: boolean }): Promise<Token[][]> {
    throw new Error('not written yet');
  }

  decode(_ids: readonly (readonly number[])[], _options: { skipSpecialTokens: boolean }): Promise<string[]> {
    throw new Error('not written yet');
  }

  health(): EmbedderHealth {
    throw new Error('not written yet');
  }

  /** Runs one real forward pass in front of everything that waits; rejects with UNHEALTHY when it fails. */
  probe(): Promise<void> {
    throw new Error('not written yet');
  }

  /** Answers what was accepted, refuses what comes, then ends the threads. */
  close(): Promise<void> {
    throw new Error('not written yet');
  }
}
