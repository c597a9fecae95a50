/**
 * The three threads of a data directory: one writes (and waits for fsync), one searches vectors, one reads and searches
 * texts. The main thread only passes messages, so inference and HTTP never wait for SQLite or a graph.
 */
import type { ReaderOperations } from './reader-operations.js';
import type {
  IndexOptions,
  Notice,
  Searchable,
  SearcherEvent,
  SearcherOperations,
  VectorState,
} from './searcher-operations.js';
import { IndexThread } from './thread-protocol.js';
import type { WriterOperations } from './writer-operations.js';

export interface IndexThreadsOptions {
  readonly dataDir: string;
  readonly indexOptions: IndexOptions;
  readonly onState: (of: Searchable, state: VectorState) => void;
  readonly onNotice: (notice: Notice) => void;
}

/** Pruning is a commit of its own: not after every change. */
const PRUNE_EVERY_CHANGES = 1_000;

export class IndexThreads {
  readonly writer: IndexThread<WriterOperations>;
  readonly searcher: IndexThread<SearcherOperations>;
  readonly reader: IndexThread<ReaderOperations>;
  /** name -> generation that is open -> its last known state */
  private readonly states = new Map<string, Map<number, VectorState | undefined>>();
  private readonly prunedSequences = new Map<string, number>();
  private readonly catchingUp = new Set<string>();
  private waitingForRoom: (() => void)[] = [];
  private readonly onState: IndexThreadsOptions['onState'];

  constructor({ dataDir, indexOptions, onState, onNotice }: IndexThreadsOptions) {
    this.onState = onState;
    this.writer = new IndexThread('index/writer-worker.js', { dataDir });
    this.reader = new IndexThread('index/reader-worker.js', { dataDir });
    this.searcher = new IndexThread('index/searcher-worker.js', { dataDir, indexOptions }, (event: SearcherEvent) => {
      if (event.kind === 'state') this.hear(event, event.state);
      else onNotice(event.notice);
    });
  }

  /** Last known state of a generation's vectors. */
  stateOf({ name, generation }: Searchable): VectorState | undefined {
    return this.states.get(name)?.get(generation);
  }

  /** Generations of a collection that are open. */
  generationsOf(name: string): number[] {
    return [...(this.states.get(name)?.keys() ?? [])];
  }

  /** Lets a generation be searched; its vectors load in the background. */
  async open(of: Searchable): Promise<void> {
    const open = this.states.get(of.name) ?? new Map<number, VectorState | undefined>();
    this.states.set(of.name, open);
    if (!open.has(of.generation)) open.set(of.generation, undefined);
    await this.searcher.call('open', of);
  }

  /** @param discard its snapshot goes too. */
  async close(of: Searchable, discard = false): Promise<void> {
    await this.searcher.call('close', { ...of, discard });
    this.states.get(of.name)?.delete(of.generation);
    this.letWritersLookAgain();
  }

  /** Has the searcher look at what was committed, so that the next search need not; one such call is in flight at most. */
  changed({ name, generation }: Searchable): void {
    const key = `${name}/${generation}`;
    if (this.catchingUp.has(key)) return;
    this.catchingUp.add(key);
    this.searcher
      .call('catchUp', { name, generation })
      .then((state) => this.hear({ name, generation }, state))
      .catch(() => {}) // The collection is being closed; searches will say so.
      .finally(() => this.catchingUp.delete(key));
  }

  /** Resolves when fewer than `max` vectors wait for the graph: this is what slows writers down to the graph's pace. */
  async roomInBacklog(of: Searchable, max: number): Promise<void> {
    while ((this.stateOf(of)?.backlog ?? 0) > max) {
      await new Promise<void>((resolve) => this.waitingForRoom.push(resolve));
    }
  }

  /** Gives back free pages and empties the WAL. */
  async compactFiles(name: string): Promise<void> {
    let outcome: { freePages: number; walEmptied: boolean };
    do outcome = await this.writer.call('compact', { name });
    while (outcome.freePages > 0 || !outcome.walEmptied);
  }

  /** Ends searches and reads of a collection, whatever its generations. */
  async closeReading(name: string): Promise<void> {
    for (const generation of this.generationsOf(name)) await this.close({ name, generation });
    await this.reader.call('close', { name });
  }

  forget(name: string): void {
    this.states.delete(name);
    this.prunedSequences.delete(name);
    this.letWritersLookAgain();
  }

  async closeAll(): Promise<void> {
    // Snapshots are written while rows can still be read; the writer goes last, as its close folds the WAL into the file.
    await this.searcher.call('closeAll', {});
    await this.reader.call('closeAll', {});
    await this.writer.call('close', {});
    await Promise.all([this.writer.terminate(), this.searcher.terminate(), this.reader.terminate()]);
  }

  private hear({ name, generation }: Searchable, state: VectorState): void {
    const open = this.states.get(name);
    if (!open?.has(generation)) return;
    const rebuilt = state.rebuilds > (open.get(generation)?.rebuilds ?? state.rebuilds);
    open.set(generation, state);
    this.onState({ name, generation }, state);
    this.letWritersLookAgain();
    // A graph is built anew when much was deleted: time to empty the files of it too.
    if (rebuilt) this.compactFiles(name).catch(() => {});
    // What one generation has not heard of yet must stay; 0 for one that is still loading.
    const appliedSequence = Math.min(...[...open.values()].map((one) => one?.appliedSequence ?? 0));
    if (appliedSequence - (this.prunedSequences.get(name) ?? 0) < PRUNE_EVERY_CHANGES) return;
    this.prunedSequences.set(name, appliedSequence);
    // Fails only where the disk refuses writes or the collection is closing; tombstones then stay, which harms nothing.
    this.writer.call('prune', { name, upToSequence: appliedSequence }).catch(() => {});
  }

  private letWritersLookAgain(): void {
    for (const look of this.waitingForRoom.splice(0)) look();
  }
}
