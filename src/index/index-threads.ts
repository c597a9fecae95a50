/**
 * The three threads of a data directory: one writes (and waits for fsync), one searches vectors, one reads and searches
 * texts. The main thread only passes messages, so inference and HTTP never wait for SQLite or a graph.
 */
import type { ReaderOperations } from './reader-operations.js';
import type { IndexOptions, Notice, SearcherEvent, SearcherOperations, VectorState } from './searcher-operations.js';
import { IndexThread } from './thread-protocol.js';
import type { WriterOperations } from './writer-operations.js';

export interface IndexThreadsOptions {
  readonly dataDir: string;
  readonly indexOptions: IndexOptions;
  readonly onState: (name: string, state: VectorState) => void;
  readonly onNotice: (notice: Notice) => void;
}

/** Pruning is a commit of its own: not after every change. */
const PRUNE_EVERY_CHANGES = 1_000;

export class IndexThreads {
  readonly writer: IndexThread<WriterOperations>;
  readonly searcher: IndexThread<SearcherOperations>;
  readonly reader: IndexThread<ReaderOperations>;
  private readonly states = new Map<string, VectorState>();
  private readonly prunedSequences = new Map<string, number>();
  private readonly catchingUp = new Set<string>();
  private waitingForRoom: (() => void)[] = [];
  private readonly onState: IndexThreadsOptions['onState'];

  constructor({ dataDir, indexOptions, onState, onNotice }: IndexThreadsOptions) {
    this.onState = onState;
    this.writer = new IndexThread('index/writer-worker.js', { dataDir });
    this.reader = new IndexThread('index/reader-worker.js', { dataDir });
    this.searcher = new IndexThread('index/searcher-worker.js', { dataDir, indexOptions }, (event: SearcherEvent) => {
      if (event.kind === 'state') this.hear(event.name, event.state);
      else onNotice(event.notice);
    });
  }

  /** Last known state of a collection's vectors. */
  stateOf(name: string): VectorState | undefined {
    return this.states.get(name);
  }

  /** Has the searcher look at what was committed, so that the next search need not; one such call is in flight at most. */
  changed(name: string): void {
    if (this.catchingUp.has(name)) return;
    this.catchingUp.add(name);
    this.searcher
      .call('catchUp', { name })
      .then((state) => this.hear(name, state))
      .catch(() => {}) // The collection is being closed; searches will say so.
      .finally(() => this.catchingUp.delete(name));
  }

  /** Resolves when fewer than `max` vectors wait for the graph: this is what slows writers down to the graph's pace. */
  async roomInBacklog(name: string, max: number): Promise<void> {
    while ((this.states.get(name)?.backlog ?? 0) > max) {
      await new Promise<void>((resolve) => this.waitingForRoom.push(resolve));
    }
  }

  /** Gives back free pages and empties the WAL. */
  async compactFiles(name: string): Promise<void> {
    let outcome: { freePages: number; walEmptied: boolean };
    do outcome = await this.writer.call('compact', { name });
    while (outcome.freePages > 0 || !outcome.walEmptied);
  }

  forget(name: string): void {
    this.states.delete(name);
    this.prunedSequences.delete(name);
    this.letWritersLookAgain();
  }

  async close(): Promise<void> {
    // Snapshots are written while rows can still be read; the writer goes last, as its close folds the WAL into the file.
    await this.searcher.call('closeAll', {});
    await this.reader.call('closeAll', {});
    await this.writer.call('close', {});
    await Promise.all([this.writer.terminate(), this.searcher.terminate(), this.reader.terminate()]);
  }

  private hear(name: string, state: VectorState): void {
    const rebuilt = state.rebuilds > (this.states.get(name)?.rebuilds ?? state.rebuilds);
    this.states.set(name, state);
    this.onState(name, state);
    this.letWritersLookAgain();
    // A graph is built anew when much was deleted: time to empty the files of it too.
    if (rebuilt) this.compactFiles(name).catch(() => {});
    const { appliedSequence } = state;
    if (appliedSequence - (this.prunedSequences.get(name) ?? 0) < PRUNE_EVERY_CHANGES) return;
    this.prunedSequences.set(name, appliedSequence);
    // Fails only where the disk refuses writes or the collection is closing; tombstones then stay, which harms nothing.
    this.writer.call('prune', { name, upToSequence: appliedSequence }).catch(() => {});
  }

  private letWritersLookAgain(): void {
    for (const look of this.waitingForRoom.splice(0)) look();
  }
}
