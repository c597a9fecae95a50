/** The collections of a data directory. One process at a time; see data-directory.ts for the lock and the layout. */
import { AnchorageError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { Collection } from './collection.js';
import {
  type CollectionOptions,
  checkCollectionName,
  fillSettings,
  type ModelIdentity,
} from './collection-settings.js';
import { type DirectoryLock, listCollections, lockDataDirectory } from './data-directory.js';
import { graphsAreAvailable } from './hnsw.js';
import { IndexThreads } from './index-threads.js';
import { COLLECTIONS_MAX } from './limits.js';
import type { IndexOptions, Notice, VectorState } from './searcher-operations.js';

/** Where lines about the index go: pino's logger, or anything with its two methods. */
export interface IndexLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface CollectionsOptions {
  readonly dataDir: string;
  readonly metrics: Metrics;
  /** Absent: nowhere. */
  readonly logger?: IndexLog;
  /** Vectors from which on a collection has a graph; below, every search is exact. */
  readonly graphFrom?: number;
  /** Share of a graph's nodes that may be tombstones before it is built anew. */
  readonly tombstoneShareMax?: number;
  /** Tombstones below which that is never worth it. */
  readonly tombstonesMin?: number;
}

/** An exact pass over this many vectors of 384 dimensions takes about as long as everything else in a search. */
const GRAPH_FROM = 5_000;
const TOMBSTONE_SHARE_MAX = 0.2;
const TOMBSTONES_MIN = 1_000;
const NO_GRAPHS =
  'usearch cannot be loaded here: every search is EXACT, and slow in large collections; npm install usearch, with a C++ compiler where no prebuilt binary fits';

export class Collections {
  private readonly options: CollectionsOptions;
  private readonly lock: DirectoryLock;
  private readonly threads: IndexThreads;
  private readonly byName = new Map<string, Collection>();

  private constructor(options: CollectionsOptions, lock: DirectoryLock) {
    this.options = options;
    this.lock = lock;
    const indexOptions: IndexOptions = {
      graphFrom: options.graphFrom ?? GRAPH_FROM,
      tombstoneShareMax: options.tombstoneShareMax ?? TOMBSTONE_SHARE_MAX,
      tombstonesMin: options.tombstonesMin ?? TOMBSTONES_MIN,
    };
    const onState = (name: string, state: VectorState): void => this.measure(name, state);
    const onNotice = ({ level, collection, message }: Notice): void => options.logger?.[level]({ collection }, message);
    this.threads = new IndexThreads({ dataDir: options.dataDir, indexOptions, onState, onNotice });
  }

  /**
   * Opens every collection. Vectors and graphs load in the background: searches of a collection wait for its vectors, and
   * are exact until its graph is there.
   * @throws AnchorageError DATA_DIR_IN_USE naming the process that has the directory.
   */
  static async open(options: CollectionsOptions): Promise<Collections> {
    const lock = lockDataDirectory(options.dataDir);
    if (!graphsAreAvailable()) options.logger?.warn({}, NO_GRAPHS);
    const collections = new Collections(options, lock);
    for (const name of listCollections(options.dataDir)) await collections.openOne(name);
    return collections;
  }

  /**
   * Makes a collection, or finds the one that is there.
   * @throws AnchorageError VALIDATION; MODEL_MISMATCH; CONFLICT where it is there with other settings.
   */
  async put(name: string, options: CollectionOptions, model: ModelIdentity): Promise<Collection> {
    const settings = fillSettings(options, model);
    const existing = this.byName.get(checkCollectionName(name));
    if (existing) return this.same(existing, options, model);
    if (this.byName.size >= COLLECTIONS_MAX) {
      throw new AnchorageError(
        'CONFLICT',
        `There are ${COLLECTIONS_MAX} collections, the most allowed; delete one first`,
      );
    }
    const state = await this.threads.writer.call('create', { name, settings, model });
    // Two requests may have made it at once: the second finds the first's.
    return this.byName.get(name) ?? (await this.adopt(new Collection(name, state, this.threads, this.options.metrics)));
  }

  /** @throws AnchorageError NOT_FOUND, VALIDATION for a name that cannot be one. */
  get(name: string): Collection {
    const collection = this.byName.get(checkCollectionName(name));
    if (collection) return collection;
    throw new AnchorageError('NOT_FOUND', `There is no collection ${name}; PUT /collections/${name} makes it`, {
      field: 'collection',
    });
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  list(): Collection[] {
    return [...this.byName.values()];
  }

  /** @returns false where there was none. */
  async delete(name: string): Promise<boolean> {
    if (!this.byName.delete(checkCollectionName(name))) return false;
    await this.threads.searcher.call('close', { name });
    await this.threads.reader.call('close', { name });
    await this.threads.writer.call('drop', { name });
    this.threads.forget(name);
    this.options.metrics.indexDocuments.remove({ collection: name });
    this.options.metrics.indexBytes.remove({ collection: name });
    return true;
  }

  /** Writes snapshots of graphs that changed, and lets go of the directory. */
  async close(): Promise<void> {
    await this.threads.close();
    this.lock.release();
  }

  private async openOne(name: string): Promise<void> {
    const state = await this.threads.writer.call('open', { name });
    await this.adopt(new Collection(name, state, this.threads, this.options.metrics));
  }

  private async adopt(collection: Collection): Promise<Collection> {
    const { name } = collection;
    this.byName.set(name, collection);
    await Promise.all([this.threads.searcher.call('open', { name }), this.threads.reader.call('open', { name })]);
    return collection;
  }

  private same(existing: Collection, options: CollectionOptions, model: ModelIdentity): Collection {
    existing.refuseOtherModel(model);
    for (const [field, value] of Object.entries(options)) {
      const held = existing.settings[field as keyof CollectionOptions];
      if (value === undefined || JSON.stringify(value) === JSON.stringify(held)) continue;
      const message = `Collection ${existing.name} has ${field} ${JSON.stringify(held)}, not ${JSON.stringify(value)}; it is chosen once`;
      throw new AnchorageError('CONFLICT', message, { field });
    }
    return existing;
  }

  private measure(name: string, state: VectorState): void {
    const { metrics } = this.options;
    if (!this.byName.has(name)) return;
    metrics.indexDocuments.set({ collection: name }, state.vectors);
    metrics.indexBytes.set({ collection: name }, state.bytes);
    if (state.recallEstimate !== undefined) metrics.recallEstimate.set({ collection: name }, state.recallEstimate);
    const written = this.list().flatMap((one) => this.threads.stateOf(one.name)?.snapshotWrittenAtMs ?? []);
    metrics.snapshotAge.set(written.length === 0 ? -1 : (Date.now() - Math.max(...written)) / 1000);
  }
}
