/** A collection's next generation while it is being built: what still waits for a vector, and where vectors are handed in. */
import type { ModelIdentity } from './collection-settings.js';
import type { CutText, WaitingText } from './document-reader.js';
import { unitVector } from './documents.js';
import type { LabelledVector } from './generations.js';
import type { IndexThreads } from './index-threads.js';
import { BACKLOG_MAX } from './limits.js';

export interface FillState {
  /** Rows with a vector of the new model. */
  readonly filled: number;
  /** Rows that wait for one. */
  readonly waiting: number;
  /** Vectors that the new graph does not hold yet. */
  readonly backlog: number;
}

export class NextGeneration {
  readonly name: string;
  readonly generation: number;
  readonly model: ModelIdentity;
  private readonly threads: IndexThreads;

  constructor(of: { name: string; generation: number }, model: ModelIdentity, threads: IndexThreads) {
    this.name = of.name;
    this.generation = of.generation;
    this.model = model;
    this.threads = threads;
  }

  /** The next rows to embed, in the order in which they are to be handed in. */
  waiting(limit: number): Promise<WaitingText[]> {
    return this.threads.reader.call('waiting', { ...this.of, limit });
  }

  /** Rows that wait and have no text to embed: how many, and the id of one. */
  withoutText(): Promise<{ count: number; id: string | null }> {
    return this.threads.reader.call('withoutText', this.of);
  }

  /** The text of a document and where its chunks lie. */
  cutText(parent: string): Promise<CutText> {
    return this.threads.reader.call('cutText', { ...this.of, parent });
  }

  /**
   * Hands in the vectors of the first rows of `waiting`, none left out but those that went; answered when they are on disk.
   * @throws AnchorageError VALIDATION for a vector that is none, CONFLICT where this generation was given up.
   */
  async fill(vectors: readonly LabelledVector[]): Promise<void> {
    const checked = vectors.map(({ label, vector }) => ({
      label,
      vector: unitVector(vector, `the vector of row ${label}`, this.model.dimensions),
    }));
    await this.threads.roomInBacklog(this.of, BACKLOG_MAX);
    await this.threads.writer.call('fill', { ...this.of, vectors: checked });
    this.threads.changed(this.of);
  }

  /**
   * Ids of the documents that are nearest to a vector of the new model, the nearest first.
   * @param exact passes over every vector instead of walking the graph.
   */
  async nearest(vector: Float32Array, k: number, exact = false): Promise<string[]> {
    const request = { vector, k, exact, include: [] };
    const { ranked, documents } = await this.threads.searcher.call('search', { ...this.of, request });
    return ranked.flatMap(({ label }) => documents.get(label)?.id ?? []);
  }

  async state(): Promise<FillState> {
    const [counts, backlog] = await Promise.all([this.threads.reader.call('fillState', this.of), this.backlog()]);
    return { ...counts, backlog };
  }

  /** Vectors that the new graph does not hold yet. */
  async backlog(): Promise<number> {
    const { backlog, rebuildProgress, vectors } = await this.threads.searcher.call('catchUp', this.of);
    return rebuildProgress === undefined ? backlog : Math.ceil(vectors * (1 - rebuildProgress));
  }

  private get of(): { name: string; generation: number } {
    return { name: this.name, generation: this.generation };
  }
}
