/**
 * The model versions on disk and the one that answers. Swapping in another version:
 *
 *   1. its hashes are verified and its threads started, while the live one answers;
 *   2. the live reference is set to it: from here on new requests get the new version;
 *   3. requests that still hold the old one are answered by it, then its threads end.
 *
 * A failure in step 1 leaves everything as it was. A version can also be held beside the live one: the next one, while
 * collections are embedded by it, or the one before, while collections still hold its vectors.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { AnchorageError } from '../errors.js';
import { Embedder, type EmbedderLimits } from './embedder.js';
import { type Manifest, MODEL_NAME_PATTERN, readManifest } from './manifest.js';

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

const NAME = new RegExp(MODEL_NAME_PATTERN);
/** How long an old version without work waits for a request that took it as live and has not come to use it yet. */
const GRACE_MS = 2000;

export class ModelRegistry {
  readonly #options: RegistryOptions;
  #live: Embedder;
  #activating: string | undefined;
  readonly #held = new Set<Embedder>();
  readonly #retiring = new Map<Embedder, Promise<void>>();
  #closed = false;

  /** Loads the configured model. */
  static async open(options: RegistryOptions): Promise<ModelRegistry> {
    const [name = '', version] = options.model.split('@');
    const chosen = version ?? (await soleVersion(options.modelsDir, name));
    return new ModelRegistry(options, await load(options, name, chosen));
  }

  private constructor(options: RegistryOptions, live: Embedder) {
    this.#options = options;
    this.#live = live;
    this.#show(live.manifest, 1);
  }

  /** The embedder that answers now. A request reads it once, so that no answer mixes two models. */
  get live(): Embedder {
    return this.#live;
  }

  /** The embedder of that fingerprint, if one is loaded: the live one, one that is held, or one that is being retired. */
  of(fingerprint: string): Embedder | undefined {
    const loaded = [this.#live, ...this.#held, ...this.#retiring.keys()];
    return loaded.find(({ manifest }) => manifest.fingerprint === fingerprint);
  }

  /**
   * Verifies a version and loads it beside the live one, until `release` or `promote`.
   * @throws AnchorageError NOT_FOUND, or whatever is wrong with its files.
   */
  async hold(name: string, version: string): Promise<Embedder> {
    const loaded = [this.#live, ...this.#held].find(
      ({ manifest }) => manifest.name === name && manifest.version === version,
    );
    if (loaded) return loaded;
    const embedder = await load(this.#options, name, version);
    await this.#refuseWhenClosed(embedder);
    this.#held.add(embedder);
    return embedder;
  }

  /** Makes a held version live, at once; the one before is held from here on. */
  promote(next: Embedder): void {
    const old = this.#live;
    if (old === next) return;
    this.#held.delete(next);
    this.#held.add(old);
    this.#live = next;
    this.#show(old.manifest, undefined);
    this.#show(next.manifest, 1);
  }

  /** Lets go of a version that is held: it answers what it has, then its threads end. The live one is not touched. */
  release(embedder: Embedder): void {
    if (this.#held.delete(embedder)) this.#retiring.set(embedder, this.#retire(embedder));
  }

  /** Every version folder, by name and version. */
  async list(): Promise<ModelSummary[]> {
    const { modelsDir } = this.#options;
    const names = await folders(modelsDir);
    const summaries = names.map(async (name) => {
      const versions = await folders(join(modelsDir, name));
      return Promise.all(versions.map((version) => this.#summary(name, version)));
    });
    return (await Promise.all(summaries)).flat();
  }

  /** Makes a version live; resolves when it is. Nothing happens where it is already. One at a time: a second call meanwhile is a CONFLICT. */
  async activate(name: string, version: string): Promise<Embedder> {
    checkName(name);
    checkName(version);
    if (this.#activating) {
      throw new AnchorageError('CONFLICT', `${this.#activating} is being activated; try again when it is live`);
    }
    const { manifest } = this.#live;
    if (manifest.name === name && manifest.version === version) return this.#live;
    this.#activating = `${name}@${version}`;
    try {
      const old = this.#live;
      const next = await this.hold(name, version);
      this.promote(next);
      this.release(old);
      return next;
    } finally {
      this.#activating = undefined;
    }
  }

  /** Answers what was accepted, then ends all threads. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#show(this.#live.manifest, undefined);
    const beside = [...this.#held, ...this.#retiring.keys()];
    await Promise.all([this.#live, ...beside].map((embedder) => embedder.close()));
  }

  async #refuseWhenClosed(embedder: Embedder): Promise<void> {
    if (!this.#closed) return;
    await embedder.close();
    throw new AnchorageError('UNHEALTHY', 'the server is stopping');
  }

  async #retire(old: Embedder): Promise<void> {
    for (let idle = false; !idle && !this.#closed; ) {
      await pause(GRACE_MS, undefined, { ref: false });
      idle = old.unsettledTexts === 0;
    }
    await old.close();
    this.#retiring.delete(old);
  }

  async #summary(name: string, version: string): Promise<ModelSummary> {
    const { manifest: live } = this.#live;
    const summary = { name, version, live: live.name === name && live.version === version };
    try {
      const manifest = await readManifest(join(this.#options.modelsDir, name, version));
      return { ...summary, manifest, problem: undefined };
    } catch (error) {
      if (!(error instanceof AnchorageError)) throw error;
      return { ...summary, manifest: undefined, problem: error.message };
    }
  }

  /** Exactly one version is 1 on /metrics; undefined takes the series away. */
  #show({ name, version, pooling, quantization }: Manifest, value: 1 | undefined): void {
    const { modelInfo } = this.#options.metrics;
    const labels = { name, version, pooling: pooling.mode, quantization };
    if (value) modelInfo.set(labels, value);
    else modelInfo.remove(labels);
  }
}

async function load(options: RegistryOptions, name: string, version: string): Promise<Embedder> {
  checkName(name);
  checkName(version);
  const versions = await folders(join(options.modelsDir, name));
  if (!versions.includes(version)) {
    const known = versions.length > 0 ? `it has ${versions.join(', ')}` : `${options.modelsDir} has no model ${name}`;
    throw new AnchorageError('NOT_FOUND', `no version ${version} of ${name}: ${known}`);
  }
  return Embedder.load({ ...options, folder: join(options.modelsDir, name, version) });
}

/**
 * The version that a bare name stands for: the only one there is; among several the highest, in the order of their
 * names, of those that end in "-int8", which are small, fast and batch-invariant; without any of these it must be said.
 */
async function soleVersion(modelsDir: string, name: string): Promise<string> {
  checkName(name);
  const versions = await folders(join(modelsDir, name));
  const [only] = versions;
  if (only && versions.length === 1) return only;
  const preferred = versions.filter((version) => version.endsWith('-int8')).at(-1);
  if (preferred) return preferred;
  if (only)
    throw new AnchorageError(
      'CONFIG_INVALID',
      `model ${name} has several versions; say ${name}@<one of ${versions.join(', ')}>`,
    );
  throw new AnchorageError('NOT_FOUND', `${modelsDir} has no model ${name}`);
}

/** Names of the model folders or versions in a folder, in order; none where it does not exist. */
async function folders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return entries
    .filter((entry) => entry.isDirectory() && NAME.test(entry.name))
    .map((entry) => entry.name)
    .sort();
}

/** Names come from URLs: one that is not a plain name must not become part of a path. */
function checkName(name: string): void {
  if (NAME.test(name)) return;
  throw new AnchorageError(
    'VALIDATION',
    `"${name}" is not a model name or version: it must match ${MODEL_NAME_PATTERN}`,
  );
}
