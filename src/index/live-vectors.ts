/**
 * One collection in the searching thread: its reading connection, its vectors, and the work that is done between searches,
 * in slices: inserting into graphs, building a graph anew, writing snapshots.
 */
import { collectionFile, collectionFolder } from './data-directory.js';
import { openForReading } from './database.js';
import { type DenseAnswer, type DenseRequest, DenseSearch } from './dense-search.js';
import { DocumentReader } from './document-reader.js';
import type { IndexOptions, VectorState } from './searcher-operations.js';
import { VectorIndex } from './vector-index.js';

export const EF_SEARCH_DEFAULT = 64;

/** Changes since the last snapshot that make a new one worth its write: replaying them at a start takes seconds. */
const CHANGES_PER_SNAPSHOT = 5_000;
const CHANGED_SHARE = 0.2;

export class LiveVectors {
  private readonly reader: DocumentReader;
  private readonly index: VectorIndex;
  private readonly dense: DenseSearch;
  private snapshotSequence: number | undefined;
  private snapshotWrittenAtMs: number | undefined;
  private writing: Promise<void> | undefined;

  private constructor(reader: DocumentReader, index: VectorIndex, dense: DenseSearch) {
    this.reader = reader;
    this.index = index;
    this.dense = dense;
    this.snapshotSequence = index.loadedSnapshot?.sequence;
    this.snapshotWrittenAtMs = index.loadedSnapshot?.writtenAtMs;
  }

  static async open(dataDir: string, name: string, options: IndexOptions): Promise<LiveVectors> {
    const reader = new DocumentReader(openForReading(collectionFile(dataDir, name)));
    const log = (message: string): void => void process.stderr.write(`anchorage: collection ${name}: ${message}\n`);
    const index = await VectorIndex.open({ folder: collectionFolder(dataDir, name), reader, log, ...options });
    const { oversample } = reader.state.settings;
    return new LiveVectors(reader, index, new DenseSearch(index, reader, { oversample, efSearch: EF_SEARCH_DEFAULT }));
  }

  search(request: DenseRequest): DenseAnswer {
    return this.dense.search(request);
  }

  catchUp(): void {
    this.reader.atOneCommit(() => this.index.catchUp());
  }

  compact(): void {
    this.catchUp();
    this.index.compact();
  }

  /** @returns whether there is more to do. */
  work(sliceMs: number): boolean {
    if (this.index.hasWork) this.reader.atOneCommit(() => this.index.advance(sliceMs));
    if (!this.index.hasWork && this.isWorthASnapshot()) void this.snapshot();
    return this.index.hasWork;
  }

  /** One at a time; a second call waits for the first. */
  snapshot(): Promise<void> {
    this.writing ??= this.writeSnapshot().finally(() => {
      this.writing = undefined;
    });
    return this.writing;
  }

  async close(): Promise<void> {
    await this.writing;
    this.catchUp();
    if (this.index.graph && this.index.appliedSequence !== this.snapshotSequence) await this.snapshot();
    this.reader.db.close();
  }

  state(): VectorState {
    const { index } = this;
    return {
      vectors: index.table.size,
      backlog: index.backlog,
      bytes: index.bytes,
      appliedSequence: index.appliedSequence,
      graphNodes: index.graph?.size ?? 0,
      tombstones: index.graph?.tombstones ?? 0,
      rebuildProgress: index.rebuildProgress,
      efSearch: this.dense.efSearch,
      recallEstimate: undefined,
      snapshotSequence: this.snapshotSequence,
      snapshotWrittenAtMs: this.snapshotWrittenAtMs,
    };
  }

  private isWorthASnapshot(): boolean {
    if (!this.index.graph || this.writing) return false;
    const changes = this.index.changesSinceSnapshot;
    return changes > Math.max(CHANGES_PER_SNAPSHOT, CHANGED_SHARE * this.index.table.size);
  }

  private async writeSnapshot(): Promise<void> {
    const sequence = await this.index.snapshot();
    if (sequence === undefined) return;
    this.snapshotSequence = sequence;
    this.snapshotWrittenAtMs = Date.now();
  }
}
