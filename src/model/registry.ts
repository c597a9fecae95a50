import type { Embedder, EmbedderLimits } from './embedder.js';
import type { Manifest } from './manifest.js';

export interface RegistryOptions extends EmbedderLimits {
  readonly modelsDir: string;
  /** `name` or `name@version`. */
  readonly model: string;
}

/** A version folder as /admin/models shows it. */
export interface ModelSummary {
  readonly name: string;
  readonly version: string;
  readonly live: boolean;
  /** Undefined where the folder is broken. */
  readonly manifest: Manifest | undefined;
  /** Why the folder cannot be used; undefined where it can. File hashes are checked at activation only. */
  readonly problem: string | undefined;
}

/** The model versions on disk and the one that answers. */
export class ModelRegistry {
  private constructor() {}

  static open(_options: RegistryOptions): Promise<ModelRegistry> {
    throw new Error('not written yet');
  }

  /** The embedder that answers now. A request reads it once, so that no answer mixes two models. */
  get live(): Embedder {
    throw new Error('not written yet');
  }

  list(): Promise<ModelSummary[]> {
    throw new Error('not written yet');
  }

  /** Loads and warms a version, makes it live, then drains and closes the one before. One at a time: CONFLICT. */
  activate(_name: string, _version: string): Promise<Embedder> {
    throw new Error('not written yet');
  }

  close(): Promise<void> {
    throw new Error('not written yet');
  }
}
