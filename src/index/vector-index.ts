/**
 * The vectors of one collection in memory: a table of codes for exact passes and, above a size, a graph. It follows the
 * rows: `catchUp` applies what was committed since, `advance` does the slow part (inserting into graphs) a slice at a time.
 *
 * Always true:
 *   - After catchUp, the table holds exactly the committed vectors: a search right after sees every acknowledged write.
 *   - Each live label is in the graph or in its backlog, which searches pass over exactly: nothing is missed while the
 *     graph lags.
 *   - What a graph finds counts only if its label is in the table: nothing deleted comes back.
 *   - A graph that is built anew (no snapshot, or too many tombstones) takes over only when it holds everything; until
 *     then the old graph serves, or where there is none, exact search.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { CodeTable } from './code-table.js';
import { type Code, createCodec } from './codes.js';
import { blobToVector, type CollectionState } from './database.js';
import type { DocumentReader } from './document-reader.js';
import type { Ranked } from './fusion.js';
import { GrowingGraph } from './growing-graph.js';
import { type GraphShape, graphsAreAvailable, HnswGraph } from './hnsw.js';
import { dot } from './kernels.js';
import { loadSnapshot, type Stamp, snapshotFile, writeSnapshot } from './snapshot.js';
import { yieldToEventLoop } from './yielding.js';

export interface VectorIndexOptions {
  /** Where snapshots lie. */
  readonly folder: string;
  readonly reader: DocumentReader;
  /** Live vectors from which on there is a graph; below, every search is exact. */
  readonly graphFrom: number;
  /** Share of tombstones among the nodes above which the graph is built anew. */
  readonly tombstoneShareMax: number;
  /** Below this many tombstones no graph is built anew: it would not be worth it. */
  readonly tombstonesMin: number;
  readonly log: (level: 'info' | 'warn', message: string) => void;
}

export interface Walk {
  readonly efSearch: number;
  readonly most?: number;
}

/** Rows read between two looks at the event loop while the table is filled. */
const LOAD_ROWS = 1000;
const SCATTERED_COST = 4;
/** usearch sums in another order than we do: the k-th may change places with its next. */
const EXACT_SPARE = 8;

export class VectorIndex {
  readonly table: CodeTable;
  private readonly options: VectorIndexOptions;
  private readonly state: CollectionState;
  private current: GrowingGraph | undefined;
  private next: GrowingGraph | undefined;
  private applied: number;
  private lastLabel = 0;
  private changes = 0;
  /** Graphs that were built beside another, or beside exact search, and took over. */
  rebuilds = 0;
  /** Of the snapshot that the graph came from. */
  loadedSnapshot: { readonly sequence: number; readonly writtenAtMs: number } | undefined;

  private constructor(options: VectorIndexOptions, state: CollectionState) {
    this.options = options;
    this.state = state;
    this.applied = state.sequence;
    this.table = new CodeTable(createCodec(state.settings.quantization, state.settings.dimensions));
  }

  /** Fills the table from the rows and takes the snapshot's graph, if it is valid. */
  static async open(options: VectorIndexOptions): Promise<VectorIndex> {
    const index = new VectorIndex(options, options.reader.state);
    await index.fillTable();
    if (graphsAreAvailable()) await index.takeSnapshot();
    index.catchUp();
    return index;
  }

  get appliedSequence(): number {
    return this.applied;
  }

  /** Vectors that searches pass over exactly because the graph does not hold them yet. */
  get backlog(): number {
    return this.current?.backlog.size ?? 0;
  }

  /** Nodes of the graph whose labels are gone: they route, and are never found. */
  get tombstones(): number {
    return this.current ? this.current.graph.nodes - this.graphSize : 0;
  }

  /** Live labels in the graph. */
  get graphSize(): number {
    return this.current ? this.table.size - this.current.backlog.size : 0;
  }

  /** The graph that searches may walk. */
  get graph(): HnswGraph | undefined {
    return this.current?.graph;
  }

  /** Scattered rows cost several times what rows in order do: with a long backlog, passing over all is less work. */
  get exactIsFaster(): boolean {
    return !this.current || this.current.backlog.size * SCATTERED_COST > this.table.size;
  }

  /** Bytes of codes and graphs. */
  get bytes(): number {
    return this.table.bytes + (this.current?.graph.bytes ?? 0) + (this.next?.graph.bytes ?? 0);
  }

  /** 0 … 1 while a graph is being built anew. */
  get rebuildProgress(): number | undefined {
    if (!this.next) return undefined;
    return 1 - this.next.backlog.size / Math.max(1, this.next.backlog.size + this.next.graph.nodes);
  }

  /** Vectors that came or went since the graph was last written, or read, whole. */
  get changesSinceSnapshot(): number {
    return this.changes;
  }

  get hasWork(): boolean {
    return this.backlog > 0 || this.next !== undefined;
  }

  /** Applies what was committed since the last call: microseconds a row, no graph is touched but for removals. */
  catchUp(): void {
    const { reader } = this.options;
    const { sequence } = reader;
    if (sequence === this.applied) return;
    const { added, removed } = reader.changesAfter({ label: this.lastLabel, sequence: this.applied });
    for (const label of removed) this.remove(label);
    for (const { label, vector } of added) this.add(label, blobToVector(vector));
    this.applied = sequence;
    this.plan();
  }

  /** Inserts into graphs for about `sliceMs`. */
  advance(sliceMs: number): void {
    const until = performance.now() + sliceMs;
    this.current?.advance(until, (labels) => this.graphVectors(labels));
    if (!this.next) return;
    this.next.advance(until, (labels) => this.graphVectors(labels));
    if (this.next.backlog.size > 0) return;
    this.current = this.next;
    this.next = undefined;
    this.rebuilds++;
    // A graph built anew has no snapshot, or one that no longer resembles it.
    this.changes = Number.POSITIVE_INFINITY;
    this.options.log('info', `graph built: ${this.current.graph.nodes} vectors`);
  }

  /**
   * Labels near the vector, as codes see it: from the graph and its backlog, or from the whole table.
   * @param most of each that are wanted, the nearest.
   */
  candidates(query: Code, vector: Float32Array, { efSearch, most = efSearch }: Walk): number[] {
    if (!this.current) return this.exactCandidates(query, most);
    const { graph, backlog } = this.current;
    // Tombstones take their share of what a walk finds.
    const breadth = Math.ceil((efSearch * graph.nodes) / Math.max(1, this.graphSize));
    const found = graph.search(vector, Math.min(breadth, efSearch * 2)).filter((label) => this.table.has(label));
    const fresh = this.table.nearestAmong(query, backlog, most).map(({ label }) => label);
    return fresh.length === 0 ? found.slice(0, most) : [...found.slice(0, most), ...fresh];
  }

  exactCandidates(query: Code, count: number): number[] {
    return this.table.nearest(query, count + EXACT_SPARE).map(({ label }) => label);
  }

  /** Cosines with full vectors, best first; ties by label. Labels that are gone are left out. */
  score(vector: Float32Array, labels: readonly number[]): Ranked[] {
    const codesAreVectors = this.codesAreVectors;
    const stored = codesAreVectors ? undefined : this.options.reader.vectors(labels);
    const scored: Ranked[] = [];
    for (const label of labels) {
      const full = stored ? stored.get(label) : (this.table.code(label) as Float32Array | undefined);
      if (full) scored.push({ label, score: dot(full, 0, vector, vector.length) });
    }
    return scored.sort((a, b) => b.score - a.score || a.label - b.label);
  }

  /** Whether codes tell the nearest few apart well: not bits, nor the first dimensions of many. */
  get codesRankWell(): boolean {
    const { settings, model } = this.state;
    return settings.quantization !== 'binary' && settings.dimensions === model.dimensions;
  }

  /** Whether the table alone can give exact scores. */
  get codesAreVectors(): boolean {
    const { settings, model } = this.state;
    return settings.quantization === 'float32' && settings.dimensions === model.dimensions;
  }

  /**
   * The true k nearest. Where memory holds only codes, every full vector is read from disk, in slices between which other
   * searches have their turn; vectors that come or go meanwhile may be missed.
   */
  async exactNearest(vector: Float32Array, k: number): Promise<Ranked[]> {
    if (this.codesAreVectors) return this.score(vector, this.exactCandidates(vector, k)).slice(0, k);
    let best: Ranked[] = [];
    let after = 0;
    for (let rows = LOAD_ROWS; rows === LOAD_ROWS; await yieldToEventLoop()) {
      rows = 0;
      this.options.reader.forEachVector(
        (label, stored) => {
          rows++;
          after = label;
          best.push({ label, score: dot(stored, 0, vector, vector.length) });
        },
        { after, limit: LOAD_ROWS },
      );
      best = best.sort((a, b) => b.score - a.score || a.label - b.label).slice(0, k);
    }
    return best.filter(({ label }) => this.table.has(label));
  }

  /** Starts a graph without tombstones beside the present one. */
  compact(): void {
    if (!this.current || this.next) return;
    this.next = new GrowingGraph(new HnswGraph(this.shape), this.table.allLabels());
  }

  /** Writes the present graph. @returns the sequence that it reflects; undefined without a graph. */
  async snapshot(): Promise<number | undefined> {
    if (!this.current) return undefined;
    const stamp = this.stamp(this.current);
    this.changes = 0;
    await writeSnapshot(this.options.folder, this.current.graph, stamp);
    return stamp.sequence;
  }

  removeSnapshot(): void {
    rmSync(join(this.options.folder, snapshotFile(this.state.generation)), { force: true });
  }

  private get shape(): GraphShape {
    const { dimensions, quantization, m, efConstruction } = this.state.settings;
    return { dimensions, quantization, m, efConstruction };
  }

  private async fillTable(): Promise<void> {
    const { reader } = this.options;
    for (let rows = LOAD_ROWS; rows === LOAD_ROWS; await yieldToEventLoop()) {
      rows = 0;
      const add = (label: number, vector: Float32Array): void => {
        rows++;
        this.table.add(label, vector);
        this.lastLabel = label;
      };
      reader.forEachVector(add, { after: this.lastLabel, limit: LOAD_ROWS });
    }
  }

  private async takeSnapshot(): Promise<void> {
    const { folder, log } = this.options;
    const loaded = await loadSnapshot(folder, { ...this.options.reader.state, shape: this.shape });
    if ('reason' in loaded) {
      if (this.table.size < this.options.graphFrom) return;
      log(
        'warn',
        `graph snapshot not used: ${loaded.reason}; building from ${this.table.size} rows, searches are exact meanwhile`,
      );
      this.next = new GrowingGraph(new HnswGraph(this.shape), this.table.allLabels());
      return;
    }
    this.adopt(loaded.graph, loaded.stamp);
  }

  /** Brings a snapshot's graph up to the table: what it lacks goes to the backlog; what is gone the table does not hold. */
  private adopt(graph: HnswGraph, stamp: Stamp): void {
    const lacking = [
      ...stamp.missing.filter((label) => this.table.has(label)),
      ...this.table.allLabels().filter((label) => label > stamp.lastLabel),
    ];
    this.current = new GrowingGraph(graph, lacking);
    this.loadedSnapshot = { sequence: stamp.sequence, writtenAtMs: Date.parse(stamp.writtenAt) };
    this.plan();
  }

  private add(label: number, vector: Float32Array): void {
    this.table.add(label, vector);
    this.changes++;
    this.current?.backlog.add(label);
    this.next?.backlog.add(label);
    this.lastLabel = label;
  }

  private remove(label: number): void {
    if (!this.table.has(label)) return;
    this.table.remove(label);
    this.changes++;
    this.current?.backlog.delete(label);
    this.next?.backlog.delete(label);
  }

  /** A first graph when the collection has grown to need one; a new one when too much of it is dead. */
  private plan(): void {
    if (this.next || !graphsAreAvailable()) return;
    if (!this.current) {
      if (this.table.size < this.options.graphFrom) return;
      this.current = new GrowingGraph(new HnswGraph(this.shape), this.table.allLabels());
      return;
    }
    const { tombstones } = this;
    const { tombstonesMin, tombstoneShareMax } = this.options;
    if (tombstones > tombstonesMin && tombstones > tombstoneShareMax * this.current.graph.nodes) this.compact();
  }

  private graphVectors(labels: readonly number[]): Map<number, Float32Array> {
    if (this.table.codec.quantization !== 'float32') return this.options.reader.vectors(labels);
    const live = labels.filter((label) => this.table.has(label));
    return new Map(live.map((label) => [label, this.table.code(label) as Float32Array]));
  }

  private stamp({ graph, backlog }: GrowingGraph): Stamp {
    const { lifeId, generation } = this.state;
    return {
      lifeId,
      generation,
      sequence: this.applied,
      lastLabel: this.lastLabel,
      missing: [...backlog],
      nodes: graph.nodes,
      shape: this.shape,
      writtenAt: new Date().toISOString(),
    };
  }
}
