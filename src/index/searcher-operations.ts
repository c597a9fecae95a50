/** What the thread of dense searches can be asked to do, and what it tells of its own accord. */
import type { DenseAnswer, DenseRequest } from './dense-search.js';

export interface IndexOptions {
  readonly graphFrom: number;
  readonly tombstoneShareMax: number;
  readonly tombstonesMin: number;
}

/** A generation of a collection: while another is being built, two can be searched. */
export interface Searchable {
  readonly name: string;
  readonly generation: number;
}

export interface VectorState {
  readonly vectors: number;
  readonly backlog: number;
  readonly bytes: number;
  readonly appliedSequence: number;
  readonly graphNodes: number;
  readonly tombstones: number;
  /** 0 … 1 while a graph is built anew; searches use the old graph meanwhile, or are exact. */
  readonly rebuildProgress: number | undefined;
  readonly efSearch: number;
  /** Of sampled live queries, against exact search; undefined before the first sample. */
  readonly recallEstimate: number | undefined;
  /** Graphs built anew since the collection was opened. */
  readonly rebuilds: number;
  /** Of the newest snapshot on disk. */
  readonly snapshotSequence: number | undefined;
  readonly snapshotWrittenAtMs: number | undefined;
}

export type SearcherOperations = {
  open: (argument: Searchable) => void;
  search: (argument: Searchable & { request: DenseRequest }) => DenseAnswer;
  /** Looks at what was committed; its answer is the state then. */
  catchUp: (argument: Searchable) => VectorState;
  /** Answered when the new graph is in use and on disk. */
  compact: (argument: Searchable) => void;
  snapshot: (argument: Searchable) => VectorState;
  /** @returns when its snapshot is on disk, if it is to be kept, and nothing is searched in it any more. */
  close: (argument: Searchable & { discard?: boolean }) => void;
  closeAll: (argument: Record<string, never>) => void;
};

/** What is worth a line in the log. */
export interface Notice {
  readonly level: 'info' | 'warn';
  readonly collection: string;
  readonly message: string;
}

export type SearcherEvent =
  | ({ readonly kind: 'state'; readonly state: VectorState } & Searchable)
  | { readonly kind: 'notice'; readonly notice: Notice };
