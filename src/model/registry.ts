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
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { AnchorageError } from '../errors.js';
import { Embedder, type EmbedderLimits } from './embedder.js';
import { type Manifest, MODEL_NAME_PATTERN, readManifest } from './manifest.js';

export interface RegistryOptions extends EmbedderLimits {
  readonly modelsDir: string;
  /** A second folder of model versions, looked at after the first: those that were trained here. */
  readonly trainedModelsDir?: string;
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
    const chosen = version ?? (await soleVersion(options, name));
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

  /** Every version folder, by folder, name and version. */
  async list(): Promise<ModelSummary[]> {
    const summaries: Promise<ModelSummary>[] = [];
    for (const modelsDir of modelsDirs(this.#options)) {
      for (const name of await folders(modelsDir)) {
        for (const version of await folders(join(modelsDir, name))) summaries.push(this.#summary(name, version));
      }
    }
    return Promise.all(summaries);
  }

  /** Where the files of the version that answers now lie. */
  get liveFolder(): string {
    return versionFolder(this.#options, this.#live.manifest.name, this.#live.manifest.version)!;
  }

  /**
   * Where the files of a version lie.
   * @param id name@version
   * @throws AnchorageError VALIDATION, NOT_FOUND.
   */
  folderOf(id: string): string {
    const [name = '', version = ''] = id.split('@');
    checkName(name);
    checkName(version);
    const folder = versionFolder(this.#options, name, version);
    if (folder) return folder;
    throw new AnchorageError('NOT_FOUND', `there is no model version ${id}; GET /admin/models lists them`, {
      field: 'model',
    });
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
      ({ idle } = old);
    }
    await old.close();
    this.#retiring.delete(old);
  }

  async #summary(name: string, version: string): Promise<ModelSummary> {
    const { manifest: live } = this.#live;
    const summary = { name, version, live: live.name === name && live.version === version };
    try {
      const manifest = await readManifest(versionFolder(this.#options, name, version)!);
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
  const folder = versionFolder(options, name, version);
  if (!folder) {
    const versions = await versionsOf(options, name);
    const known = versions.length > 0 ? `it has ${versions.join(', ')}` : `${options.modelsDir} has no model ${name}`;
    throw new AnchorageError('NOT_FOUND', `no version ${version} of ${name}: ${known}`);
  }
  return Embedder.load({ ...options, folder });
}

/**
 * The version that a bare name stands for: the only one there is; among several the highest, in the order of their
 * names, of those that end in "-int8", which are small, fast and batch-invariant; without any of these it must be said.
 */
async function soleVersion(options: RegistryOptions, name: string): Promise<string> {
  checkName(name);
  const { modelsDir } = options;
  // What was trained here is served where it was deployed or is asked for by its version, not for being the newest.
  const supplied = await folders(join(modelsDir, name));
  const versions = supplied.length > 0 ? supplied : await versionsOf(options, name);
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

const modelsDirs = ({ modelsDir, trainedModelsDir }: RegistryOptions): string[] =>
  trainedModelsDir === undefined ? [modelsDir] : [modelsDir, trainedModelsDir];

/** Both names are checked before. @returns undefined where neither folder has the version. */
const versionFolder = (options: RegistryOptions, name: string, version: string): string | undefined =>
  modelsDirs(options)
    .map((modelsDir) => join(modelsDir, name, version))
    .find((folder) => existsSync(folder));

const versionsOf = async (options: RegistryOptions, name: string): Promise<string[]> =>
  (await Promise.all(modelsDirs(options).map((modelsDir) => folders(join(modelsDir, name))))).flat().sort();

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
