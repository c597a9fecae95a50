/** The collections of a data directory. One process at a time; see data-directory.ts for the lock and the layout. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { constants, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { AnchorageError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { archiveOf, receiveArchive } from './backup-archive.js';
import {
  type BackedUpCollection,
  type BackupSummary,
  deleteBackup,
  listBackups,
  makeBackup,
  readManifest,
  removeUnfinishedBackups,
  stageCollections,
  summaryOf,
  verifyBackup,
} from './backups.js';
import { Collection } from './collection.js';
import {
  type CollectionOptions,
  checkCollectionName,
  fillSettings,
  type ModelIdentity,
} from './collection-settings.js';
import { collectionFolder, type DirectoryLock, listCollections, lockDataDirectory } from './data-directory.js';
import type { CollectionState } from './database.js';
import { GenerationChanges } from './generation-changes.js';
import { graphsAreAvailable } from './hnsw.js';
import { IndexThreads } from './index-threads.js';
import { COLLECTIONS_MAX } from './limits.js';
import type { IndexOptions, Notice, Searchable, VectorState } from './searcher-operations.js';
import { removeSnapshotsBut, snapshotFile } from './snapshot.js';
import { Turns } from './turns.js';
import { WriteGate } from './write-gate.js';

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
  /** Of the model that is about to serve. */
  readonly liveFingerprint?: string;
}

/** The turn of restorations; no collection has such a name. */
const RESTORING = '.restoring';
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
  /** Of what puts a collection into byName or takes it out: half-way, the threads know it and byName does not. */
  private readonly turns = new Turns();
  /** How a collection changes its model. */
  readonly generations: GenerationChanges;

  private constructor(options: CollectionsOptions, lock: DirectoryLock) {
    this.options = options;
    this.lock = lock;
    const indexOptions: IndexOptions = {
      graphFrom: options.graphFrom ?? GRAPH_FROM,
      tombstoneShareMax: options.tombstoneShareMax ?? TOMBSTONE_SHARE_MAX,
      tombstonesMin: options.tombstonesMin ?? TOMBSTONES_MIN,
    };
    const onState = (of: Searchable, state: VectorState): void => this.measure(of, state);
    const onNotice = ({ level, collection, message }: Notice): void => options.logger?.[level]({ collection }, message);
    this.threads = new IndexThreads({ dataDir: options.dataDir, indexOptions, onState, onNotice });
    const { threads, turns } = this;
    const { metrics } = options;
    this.generations = new GenerationChanges({
      threads,
      turns,
      has: (name) => this.has(name),
      get: (name) => this.get(name),
      replace: (old, state) => {
        this.byName.set(old.name, new Collection(old.name, state, { threads, metrics, gate: old.gate }));
      },
      warn: (collection, message) => options.logger?.warn({ collection }, message),
    });
  }

  /**
   * Opens every collection. Vectors and graphs load in the background: searches of a collection wait for its vectors, and
   * are exact until its graph is there.
   * @throws AnchorageError DATA_DIR_IN_USE naming the process that has the directory.
   */
  static async open(options: CollectionsOptions): Promise<Collections> {
    const lock = lockDataDirectory(options.dataDir);
    if (!graphsAreAvailable()) options.logger?.warn({}, NO_GRAPHS);
    await removeUnfinishedBackups(options.dataDir);
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
    return this.turns.take([checkCollectionName(name)], async () => {
      const existing = this.byName.get(name);
      if (existing) return this.same(existing, options, model);
      if (this.byName.size >= COLLECTIONS_MAX) {
        throw new AnchorageError(
          'CONFLICT',
          `There are ${COLLECTIONS_MAX} collections, the most allowed; delete one first`,
        );
      }
      return this.adopt(name, await this.threads.writer.call('create', { name, settings, model }));
    });
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
    return this.turns.take([checkCollectionName(name)], async () => {
      if (!this.byName.delete(name)) return false;
      await this.threads.closeReading(name);
      await this.threads.writer.call('drop', { name });
      this.threads.forget(name);
      this.options.metrics.indexDocuments.remove({ collection: name });
      this.options.metrics.indexBytes.remove({ collection: name });
      return true;
    });
  }

  /** A consistent copy of every collection, made while they serve. @throws AnchorageError STORAGE_FULL. */
  async backUp(): Promise<BackupSummary> {
    const now = new Date();
    const manifest = await makeBackup(this.options.dataDir, {
      id: `${now.toISOString().replace(/[-:]|\.\d+/g, '')}-${randomBytes(3).toString('hex')}`,
      now,
      names: this.list().map(({ name }) => name),
      write: (name, folder) => this.turns.take([name], () => this.writeBackup(name, folder)),
    });
    return summaryOf(manifest);
  }

  /** Newest first. */
  backups(): Promise<BackupSummary[]> {
    return listBackups(this.options.dataDir);
  }

  /** A copy as a tar file. @throws AnchorageError NOT_FOUND. */
  archive(id: string): Promise<Readable> {
    return archiveOf(this.options.dataDir, id);
  }

  /** Takes in what `archive` gave, here or elsewhere. @throws AnchorageError VALIDATION, CONFLICT, STORAGE_FULL. */
  receive(archive: Readable): Promise<BackupSummary> {
    return receiveArchive(this.options.dataDir, archive);
  }

  /** @throws AnchorageError NOT_FOUND. */
  deleteBackup(id: string): Promise<void> {
    return deleteBackup(this.options.dataDir, id);
  }

  /**
   * Makes the collections what they were: those of the snapshot are put back, others are deleted. Requests to a collection
   * fail while it is being swapped.
   * @throws AnchorageError NOT_FOUND, CONFLICT where the snapshot is damaged, STORAGE_FULL (nothing is restored then).
   */
  async restore(id: string): Promise<BackupSummary> {
    return this.turns.take([RESTORING], async () => {
      const { dataDir } = this.options;
      const manifest = await readManifest(dataDir, id);
      await verifyBackup(dataDir, manifest);
      const kept = new Set(manifest.collections.map(({ name }) => name));
      await stageCollections(dataDir, id, [...kept]);
      for (const { name } of this.list()) if (!kept.has(name)) await this.delete(name);
      for (const name of kept) await this.swapIn(name);
      return summaryOf(manifest);
    });
  }

  /** Writes snapshots of graphs that changed, and lets go of the directory. */
  async close(): Promise<void> {
    await this.threads.closeAll();
    this.lock.release();
  }

  /** The graph goes first: rows may be newer than a graph, never older. */
  private async writeBackup(name: string, folder: string): Promise<BackedUpCollection | undefined> {
    const collection = this.byName.get(name);
    if (!collection) return undefined;
    const { documents, sequence } = await collection.info();
    const { of } = collection;
    await this.threads.searcher.call('snapshot', of);
    const file = snapshotFile(of.generation);
    const graph = join(collectionFolder(this.options.dataDir, name), file);
    if (existsSync(graph)) await copyFile(graph, join(folder, file), constants.COPYFILE_FICLONE);
    await this.threads.writer.call('backup', { name, file: join(folder, 'documents.sqlite') });
    return { name, documents, sequence };
  }

  private async swapIn(name: string): Promise<void> {
    await this.turns.take([name], async () => {
      if (this.byName.delete(name)) await this.threads.closeReading(name);
      this.threads.forget(name);
      await this.adopt(name, await this.threads.writer.call('swapIn', { name }));
    });
  }

  /** A collection whose next generation is of the live model and whole was about to take over when the server ended. */
  private async openOne(name: string): Promise<void> {
    const state = await this.threads.writer.call('open', { name });
    const { building } = state;
    const isLive = building !== undefined && building.model.fingerprint === this.options.liveFingerprint;
    const adopted = await this.adopt(
      name,
      isLive ? await this.flippedIfWhole(name, state, building.generation) : state,
    );
    removeSnapshotsBut(collectionFolder(this.options.dataDir, name), [
      adopted.generation,
      adopted.building?.generation,
    ]);
    void this.generations.dropUnkept(name);
  }

  private async flippedIfWhole(name: string, state: CollectionState, generation: number): Promise<CollectionState> {
    try {
      return await this.threads.writer.call('flip', { name, generation });
    } catch (error) {
      if (error instanceof AnchorageError && error.code === 'CONFLICT') return state;
      throw error;
    }
  }

  private async adopt(name: string, state: CollectionState): Promise<Collection> {
    const { threads } = this;
    const { metrics } = this.options;
    const collection = new Collection(name, state, { threads, metrics, gate: new WriteGate() });
    this.byName.set(name, collection);
    await Promise.all([threads.open(collection.of), threads.reader.call('open', { name })]);
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

  private measure({ name, generation }: Searchable, state: VectorState): void {
    const { metrics } = this.options;
    if (this.byName.get(name)?.generation !== generation) return;
    metrics.indexDocuments.set({ collection: name }, state.vectors);
    metrics.indexBytes.set({ collection: name }, state.bytes);
    if (state.recallEstimate !== undefined) metrics.recallEstimate.set({ collection: name }, state.recallEstimate);
    const written = this.list().flatMap((one) => this.threads.stateOf(one.of)?.snapshotWrittenAtMs ?? []);
    metrics.newestSnapshot.writtenAtMs = written.length === 0 ? undefined : Math.max(...written);
  }
}
