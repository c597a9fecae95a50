/** What a search is asked and what it answers. */
import type { Include } from './document-reader.js';
import type { Filter } from './filter.js';
import type { Fusion } from './fusion.js';

export const MODES = ['hybrid', 'dense', 'sparse'] as const;
export type Mode = (typeof MODES)[number];

export interface SearchRequest {
  /** Of any length; dense and hybrid need it. */
  readonly vector?: Float32Array;
  /** Sparse and hybrid need it. */
  readonly text?: string;
  readonly k: number;
  readonly mode: Mode;
  readonly filter?: Filter;
  /** Breadth of the graph walk; absent: the collection's own, which its targetRecall may tune. */
  readonly efSearch?: number;
  /** Pass over every vector. */
  readonly exact?: boolean;
  /** Least score of a result, on the scale of the mode: cosine, BM25, or the fused score. */
  readonly minScore?: number;
  readonly include: readonly Include[];
  readonly fusion?: Fusion;
  /** Answer with documents, each with its best chunks, instead of with chunks. */
  readonly groupBy?: 'parent';
}

export interface SearchResult {
  readonly id: string;
  /** Higher is better: cosine (dense), BM25 (sparse), or fused. */
  readonly score: number;
  /** Cosine, where the dense list held the document. */
  readonly denseScore?: number;
  /** BM25, where the sparse list held it. */
  readonly sparseScore?: number;
  readonly text?: string;
  readonly metadata?: Record<string, unknown>;
  readonly vector?: Float32Array;
  /** Of a chunk. */
  readonly parent?: string;
  readonly start?: number;
  readonly stop?: number;
  /** With groupBy: the document's best chunks, best first. */
  readonly chunks?: readonly SearchResult[];
}

export interface SearchTimings {
  readonly total: number;
  readonly plan?: number;
  readonly dense?: number;
  readonly sparse?: number;
  /** How the dense part was answered, and what share of the vectors was estimated to pass the filter. */
  readonly path?: 'hnsw' | 'exact' | 'fulltext';
  readonly selectivity?: number;
  readonly efSearch?: number;
}

export interface SearchAnswer {
  readonly results: SearchResult[];
  readonly timingsMs: SearchTimings;
}
