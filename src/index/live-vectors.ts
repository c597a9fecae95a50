/**
 * One generation of a collection in the searching thread: its reading connection, its vectors, and the work that is done between searches,
 * in slices: inserting into graphs, building a graph anew, writing snapshots.
 */
import { collectionFile, collectionFolder } from './data-directory.js';
import { openForReading } from './database.js';
import { type DenseAnswer, type DenseRequest, DenseSearch } from './dense-search.js';
import { DocumentReader } from './document-reader.js';
import { RecallWatch } from './recall-watch.js';
import type { IndexOptions, Notice, Searchable, VectorState } from './searcher-operations.js';
import { VectorIndex, type VectorIndexOptions } from './vector-index.js';

export const EF_SEARCH_DEFAULT = 64;

/** Changes since the last snapshot that make a new one worth its write: replaying them at a start takes seconds. */
const CHANGES_PER_SNAPSHOT = 5_000;
const CHANGED_SHARE = 0.2;
const SEARCHES_PER_SAMPLE = 8;
const IDLE_AFTER_MS = 100;

export interface LiveVectorsOptions extends IndexOptions {
  readonly dataDir: string;
  readonly notify: (notice: Notice) => void;
  /** Called when a snapshot was written: the state is worth a look. */
  readonly onSnapshot: () => void;
}

interface Made {
  readonly reader: DocumentReader;
  readonly index: VectorIndex;
  readonly log: VectorIndexOptions['log'];
  readonly onSnapshot: () => void;
}

export class LiveVectors {
  private readonly reader: DocumentReader;
  private readonly index: VectorIndex;
  private readonly dense: DenseSearch;
  private snapshotSequence: number | undefined;
  private snapshotWrittenAtMs: number | undefined;
  private writing: Promise<void> | undefined;
  private readonly watch: RecallWatch;
  private readonly log: VectorIndexOptions['log'];
  private readonly onSnapshot: () => void;
  private onRebuilt: (() => void)[] = [];
  private idleWork = Promise.resolve();
  private searches = 0;
  private searchedAtMs = 0;

  private constructor({ reader, index, log, onSnapshot }: Made) {
    const { oversample, targetRecall } = reader.state.settings;
    this.reader = reader;
    this.index = index;
    this.log = log;
    this.onSnapshot = onSnapshot;
    this.watch = new RecallWatch(targetRecall);
    this.dense = new DenseSearch(index, reader, { oversample, efSearch: EF_SEARCH_DEFAULT });
    this.snapshotSequence = index.loadedSnapshot?.sequence;
    this.snapshotWrittenAtMs = index.loadedSnapshot?.writtenAtMs;
  }

  static async open({ name, generation }: Searchable, options: LiveVectorsOptions): Promise<LiveVectors> {
    const { dataDir, notify, onSnapshot, ...indexOptions } = options;
    const reader = new DocumentReader(openForReading(collectionFile(dataDir, name)), generation);
    const log = (level: Notice['level'], message: string): void => notify({ level, collection: name, message });
    const index = await VectorIndex.open({ folder: collectionFolder(dataDir, name), reader, log, ...indexOptions });
    return new LiveVectors({ reader, index, log, onSnapshot });
  }

  async search(request: DenseRequest): Promise<DenseAnswer> {
    this.searchedAtMs = performance.now();
    const answer = await this.dense.search(request);
    const isSample = answer.path === 'hnsw' && !request.filter && request.minScore === undefined;
    if (isSample && this.searches++ % SEARCHES_PER_SAMPLE === 0) {
      this.watch.offer({ vector: request.vector, k: request.k, found: answer.ranked });
    }
    return answer;
  }

  catchUp(): void {
    this.dense.catchUp();
  }

  /** Answers one sampled query exactly, if nobody has searched for a while. */
  useIdleTime(): Promise<void> {
    this.idleWork = this.measureRecall();
    return this.idleWork;
  }

  private async measureRecall(): Promise<void> {
    if (performance.now() - this.searchedAtMs < IDLE_AFTER_MS || this.index.hasWork || !this.index.graph) return;
    const sample = this.watch.takeSample();
    if (!sample) return;
    this.catchUp();
    const exact = await this.index.exactNearest(sample.vector, sample.k);
    this.watch.learn(sample, exact, (efSearch) => this.dense.walk(sample, efSearch));
    this.dense.efSearch = this.watch.tunedEfSearch ?? this.dense.efSearch;
  }

  /** Resolves when the new graph is in use and on disk. */
  async compact(): Promise<void> {
    this.catchUp();
    this.index.compact();
    if (this.index.rebuildProgress !== undefined) await new Promise<void>((resolve) => this.onRebuilt.push(resolve));
    await this.writing;
    await this.snapshot();
  }

  /** @returns whether there is more to do. */
  work(sliceMs: number): boolean {
    if (this.index.hasWork) this.reader.atOneCommit(() => this.index.advance(sliceMs));
    if (this.index.rebuildProgress === undefined) for (const tell of this.onRebuilt.splice(0)) tell();
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
    await this.idleWork;
    await this.writing;
    this.catchUp();
    if (this.index.graph && this.index.appliedSequence !== this.snapshotSequence) await this.snapshot();
    this.reader.db.close();
  }

  /** Without a last snapshot: the generation is not wanted any more, its table may be gone. */
  async discard(): Promise<void> {
    await this.idleWork;
    await this.writing;
    this.reader.db.close();
    this.index.removeSnapshot();
  }

  state(): VectorState {
    const { index } = this;
    return {
      vectors: index.table.size,
      backlog: index.backlog,
      bytes: index.bytes,
      appliedSequence: index.appliedSequence,
      graphNodes: index.graph?.nodes ?? 0,
      tombstones: index.tombstones,
      rebuildProgress: index.rebuildProgress,
      efSearch: this.dense.efSearch,
      rebuilds: index.rebuilds,
      recallEstimate: this.watch.estimate,
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
    try {
      const sequence = await this.index.snapshot();
      if (sequence === undefined) return;
      this.snapshotSequence = sequence;
      this.snapshotWrittenAtMs = Date.now();
      this.onSnapshot();
    } catch (error) {
      this.log(
        'warn',
        `graph snapshot not written (${(error as Error).message}); the next start may build the graph anew`,
      );
    }
  }
}
