/**
 * Dense search in one collection: plan, candidates by codes, scores by full vectors. Always true: a score is the cosine of
 * full float32 vectors, whatever the codes; `exact` passes over every vector; results are live at one commit.
 */
import type { DocumentReader, Include, StoredDocument } from './document-reader.js';
import type { FilterSql } from './filter.js';
import { type FilterPlan, FilterPlanner } from './filter-plan.js';
import type { Ranked } from './fusion.js';
import { EF_SEARCH_MAX } from './limits.js';
import type { VectorIndex } from './vector-index.js';

export interface DenseRequest {
  /** Length 1. */
  readonly vector: Float32Array;
  readonly k: number;
  readonly filter?: FilterSql;
  readonly efSearch?: number;
  readonly exact: boolean;
  readonly minScore?: number;
  /** Absent: labels and scores only. */
  readonly include?: readonly Include[];
}

export interface DenseAnswer {
  readonly ranked: Ranked[];
  readonly documents: Map<number, StoredDocument>;
  readonly path: 'hnsw' | 'exact';
  /** Estimated share of vectors that pass the filter; 1 without one. */
  readonly selectivity: number;
  readonly efSearch: number | undefined;
  readonly planMs: number;
  readonly searchMs: number;
}

/**
 * Candidates for each result that full vectors score where codes rank well. By the order of bytes, the ten nearest of e5's
 * narrow vectors were among the first 40 at 512 candidates but for 0.1%, and among the first 60 without loss.
 */
const RESCORED_PER_RESULT = 6;
/** A pass over codes loses nothing to a walk, so it is worth more candidates: they cost their reads alone. */
const EXACT_WIDER = 2;
/**
 * Shares of a search's breadth: how many candidates a filtered walk aims to have passing, and how many are enough. Bits need
 * all they are given: by half of it they found 0.972 of what the exact way finds where a filter lies on the query's far side,
 * by 0.8 of it 0.979; bytes found 0.986 by half.
 */
const PASSING = { ranksWell: { aim: 1, enough: 0.5 }, ranksRoughly: { aim: 1.2, enough: 1 } };
const WIDEN = 4;

interface Found {
  readonly ranked: Ranked[];
  readonly path: 'hnsw' | 'exact';
  readonly efSearch?: number;
}

export class DenseSearch {
  /** Used where a request names none; the tuner sets it. */
  efSearch: number;
  private readonly index: VectorIndex;
  private readonly reader: DocumentReader;
  private readonly planner: FilterPlanner;
  private readonly oversample: number;

  constructor(index: VectorIndex, reader: DocumentReader, options: { oversample: number; efSearch: number }) {
    this.index = index;
    this.reader = reader;
    this.planner = new FilterPlanner(reader);
    this.oversample = options.oversample;
    this.efSearch = options.efSearch;
  }

  /** Sees one commit, but for an exact pass over vectors on disk, which lets other searches in between. */
  async search(request: DenseRequest): Promise<DenseAnswer> {
    if (!request.exact || request.filter || this.index.codesAreVectors) return this.answer(request);
    this.catchUp();
    const exact = await this.index.exactNearest(request.vector, request.k);
    return this.answer(request, { ranked: exact, path: 'exact' });
  }

  catchUp(): void {
    this.reader.atOneCommit(() => this.index.catchUp());
  }

  /** What a walk of this breadth finds. */
  walk({ vector, k }: Pick<DenseRequest, 'vector' | 'k'>, breadth: number): Ranked[] {
    const efSearch = Math.max(breadth, k * this.oversample);
    const most = this.index.codesRankWell ? k * Math.max(RESCORED_PER_RESULT, this.oversample) : efSearch;
    const code = this.index.table.encodeQuery(vector);
    return this.index.score(vector, this.index.candidates(code, vector, { efSearch, most })).slice(0, k);
  }

  private answer(request: DenseRequest, known?: Found): DenseAnswer {
    return this.reader.atOneCommit(() => {
      const started = performance.now();
      this.index.catchUp();
      const plan = request.filter && this.plan(request, request.filter);
      const planned = performance.now();
      const found = known ?? this.find(request, plan);
      const least = request.minScore ?? Number.NEGATIVE_INFINITY;
      const ranked = found.ranked.filter(({ score }) => score >= least);
      const documents = request.include
        ? this.reader.byLabels(
            ranked.map(({ label }) => label),
            request.include,
          )
        : new Map<number, StoredDocument>();
      return {
        ranked,
        documents,
        path: found.path,
        selectivity: plan?.selectivity ?? 1,
        efSearch: found.efSearch,
        planMs: planned - started,
        searchMs: performance.now() - planned,
      };
    });
  }

  private plan(request: DenseRequest, filter: FilterSql): FilterPlan {
    const { table, appliedSequence } = this.index;
    if (!request.exact) return this.planner.plan(filter, table.allLabels(), appliedSequence);
    const labels = this.planner.passing(filter, Number.POSITIVE_INFINITY)!;
    return { path: 'exact', labels, selectivity: labels.size / Math.max(1, table.size) };
  }

  private find(request: DenseRequest, plan: FilterPlan | undefined): Found {
    if (plan?.labels) return { path: 'exact', ranked: this.amongLabels(request, plan.labels) };
    if (plan && request.filter) return this.filteredWalk(request, request.filter, plan.selectivity);
    if (request.exact || this.index.exactIsFaster) return { path: 'exact', ranked: this.overAll(request) };
    const efSearch = this.breadth(request);
    return { path: 'hnsw', efSearch, ranked: this.walk(request, efSearch) };
  }

  /** Candidates of a walk: enough for k, and for the codes' errors. */
  private breadth({ efSearch, k }: DenseRequest): number {
    return Math.min(EF_SEARCH_MAX, Math.max(efSearch ?? this.efSearch, k * this.oversample));
  }

  private filteredWalk(request: DenseRequest, filter: FilterSql, selectivity: number): Found {
    const { table } = this.index;
    const breadth = this.breadth(request);
    if (!this.index.exactIsFaster) {
      const code = table.encodeQuery(request.vector);
      const { aim, enough: share } = this.index.codesRankWell ? PASSING.ranksWell : PASSING.ranksRoughly;
      const enough = Math.max(request.k, breadth * share);
      const first = Math.min(EF_SEARCH_MAX, Math.ceil((breadth * aim) / selectivity));
      for (let efSearch = first; efSearch <= EF_SEARCH_MAX; efSearch = widened(efSearch)) {
        const candidates = this.index.candidates(code, request.vector, { efSearch });
        const passing = this.planner.passingOf(filter, candidates);
        if (passing.size >= enough) return { path: 'hnsw', efSearch, ranked: this.best(request, [...passing]) };
      }
    }
    const labels = this.planner.passing(filter, Number.POSITIVE_INFINITY)!;
    return { path: 'exact', ranked: this.amongLabels(request, labels) };
  }

  private best({ vector, k }: DenseRequest, labels: readonly number[]): Ranked[] {
    return this.index.score(vector, labels).slice(0, k);
  }

  /** Codes choose first where scoring all by full vectors would read them all from disk; not when asked to be exact. */
  private amongLabels(request: DenseRequest, labels: ReadonlySet<number>): Ranked[] {
    const { table, codesAreVectors } = this.index;
    const live = [...labels].filter((label) => table.has(label));
    const wanted = request.k * this.oversample * EXACT_WIDER;
    if (codesAreVectors || request.exact || live.length <= wanted) return this.best(request, live);
    const code = table.encodeQuery(request.vector);
    return this.best(
      request,
      table.nearestAmong(code, live, wanted).map(({ label }) => label),
    );
  }

  /** By codes, all of them; see `search` for exact search where codes are not vectors. */
  private overAll(request: DenseRequest): Ranked[] {
    const { table, codesAreVectors } = this.index;
    const code = table.encodeQuery(request.vector);
    const wanted = codesAreVectors ? request.k : request.k * this.oversample * EXACT_WIDER;
    return this.best(request, this.index.exactCandidates(code, wanted));
  }
}

const widened = (efSearch: number): number =>
  efSearch === EF_SEARCH_MAX ? EF_SEARCH_MAX + 1 : Math.min(EF_SEARCH_MAX, efSearch * WIDEN);
