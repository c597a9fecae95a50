/**
 * One collection, as the rest of the server sees it. Always true: an answered write is on disk, and searches that begin
 * after it see it; vectors and queries of another model than the collection's are refused.
 *
 * An object of this class is one generation of the collection. When another generation takes over, Collections holds
 * another object; who still has this one can go on searching in it, and is refused when writing.
 */
import { AnchorageError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { type CollectionSettings, type ModelIdentity, refuseOtherModel } from './collection-settings.js';
import type { CollectionState, Generation } from './database.js';
import type { DenseAnswer } from './dense-search.js';
import type { Counts, EmbeddedText, Include, Page, StoredDocument } from './document-reader.js';
import type { Upserted } from './document-writer.js';
import { checkDocuments, checkMetadata, type DocumentInput, type Metadata, unitVector } from './documents.js';
import { type Filter, filterToSql } from './filter.js';
import { FUSION_DEFAULT, fuse, type Ranked } from './fusion.js';
import type { IndexThreads } from './index-threads.js';
import { BACKLOG_MAX, EF_SEARCH_MAX, K_MAX, PAGE_MAX } from './limits.js';
import type { FillState, NextGeneration } from './next-generation.js';
import { groupByParent, type ParentGroup, parentResult } from './parents.js';
import type { QueryMap } from './query-map.js';
import type { SearchAnswer, SearchRequest, SearchResult } from './search-types.js';
import type { Searchable, VectorState } from './searcher-operations.js';
import type { WriteGate } from './write-gate.js';

/** Ranks of each list that a fusion looks at: below, a document adds less than 1/160 to a score. */
const FUSED_RANKS = 100;
const CHUNKS_PER_PARENT = 4;

export interface SelectionInput {
  readonly ids?: readonly string[];
  readonly filter?: Filter;
}

export interface CollectionInfo extends Counts {
  readonly name: string;
  readonly settings: CollectionSettings;
  readonly model: ModelIdentity;
  readonly generation: number;
  /** Of the generation that is being built beside it. */
  readonly building: (FillState & { readonly generation: number; readonly model: ModelIdentity }) | undefined;
  /** The generation that can be gone back to. */
  readonly previous: { readonly generation: number; readonly model: ModelIdentity } | undefined;
  readonly createdAt: string;
  readonly sequence: number;
  readonly index: VectorState;
}

export class Collection {
  readonly name: string;
  readonly gate: WriteGate;
  private state: CollectionState;
  private readonly threads: IndexThreads;
  private readonly metrics: Metrics;
  private nextGeneration: NextGeneration | undefined;
  private readonly queryMaps = new Map<string, Promise<QueryMap | undefined>>();
  private searches = 0;

  /** @param gate that all generations of the collection share. */
  constructor(
    name: string,
    state: CollectionState,
    { threads, metrics, gate }: { threads: IndexThreads; metrics: Metrics; gate: WriteGate },
  ) {
    this.name = name;
    this.state = state;
    this.threads = threads;
    this.metrics = metrics;
    this.gate = gate;
  }

  get generation(): number {
    return this.state.generation;
  }

  /** What names this generation to the threads. */
  get of(): Searchable {
    return { name: this.name, generation: this.generation };
  }

  /** Searches that run in this generation now. */
  get searching(): number {
    return this.searches;
  }

  /** The generation that can be gone back to. */
  get previous(): Generation | undefined {
    return this.state.previous;
  }

  /** What is being built beside this generation now. */
  get next(): NextGeneration | undefined {
    return this.nextGeneration;
  }

  /** The generation that is being built, or was when the server last ended. */
  get building(): Generation | undefined {
    return this.state.building;
  }

  /** Takes note of what is being built beside this generation. */
  buildsBeside(state: CollectionState, next: NextGeneration | undefined): void {
    this.state = state;
    this.nextGeneration = next;
  }

  get settings(): CollectionSettings {
    return this.state.settings;
  }

  get model(): ModelIdentity {
    return this.state.model;
  }

  /** @throws AnchorageError MODEL_MISMATCH naming both. */
  refuseOtherModel(model: ModelIdentity): void {
    refuseOtherModel(this.name, this.model, model);
  }

  /**
   * Replaces documents of the same ids. Answers when they are on disk.
   * @throws AnchorageError VALIDATION or PAYLOAD_TOO_LARGE naming the field, STORAGE_FULL, MODEL_MISMATCH where another
   *   generation has taken over.
   */
  async upsert(documents: readonly DocumentInput[]): Promise<Upserted> {
    const checked = checkDocuments(documents, this.model.dimensions);
    await this.threads.roomInBacklog(this.of, BACKLOG_MAX);
    const { commitSeconds, ...upserted } = await this.gate.pass(() =>
      this.threads.writer.call('upsert', { ...this.of, documents: checked }),
    );
    this.committed(commitSeconds);
    return upserted;
  }

  /** Merges `patch` into the metadata of the selected documents (RFC 7396: null removes a field). */
  async patchMetadata(selection: SelectionInput, patch: Metadata): Promise<{ updated: number; sequence: number }> {
    const argument = { name: this.name, selection: selected(selection), patch: checkMetadata(patch, 'metadata') };
    const { commitSeconds, ...patched } = await this.threads.writer.call('patch', argument);
    this.committed(commitSeconds);
    return patched;
  }

  /** Chunks go with their document. Ids that are not there are not an error. */
  async delete(selection: SelectionInput): Promise<{ deleted: number; sequence: number }> {
    const argument = { name: this.name, selection: selected(selection) };
    const { commitSeconds, ...deleted } = await this.threads.writer.call('delete', argument);
    this.committed(commitSeconds);
    return deleted;
  }

  /** In the order of `ids`, without those that are not there. */
  get(ids: readonly string[], include: readonly Include[] = ['text', 'metadata']): Promise<StoredDocument[]> {
    return this.threads.reader.call('byIds', { ...this.of, ids, include });
  }

  /** A page of documents, oldest upsert first; `cursor` of the answer asks for the next. */
  query(request: SelectionInput & { limit?: number; cursor?: string; include?: readonly Include[] }): Promise<Page> {
    const limit = bounded(request.limit ?? 100, 'limit', PAGE_MAX);
    const { ids, filter, cursor, include = ['text', 'metadata'] } = request;
    const page = {
      limit,
      include,
      ...(ids ? { ids } : {}),
      ...(filter ? { filter: filterToSql(filter) } : {}),
      ...(cursor === undefined ? {} : { cursor }),
    };
    return this.threads.reader.call('page', { ...this.of, request: page });
  }

  /** @throws AnchorageError VALIDATION naming the field. */
  async search(request: SearchRequest): Promise<SearchAnswer> {
    const started = performance.now();
    bounded(request.k, 'k', K_MAX);
    if (request.efSearch !== undefined) bounded(request.efSearch, 'efSearch', EF_SEARCH_MAX);
    this.searches++;
    const searching = request.groupBy ? this.searchParents(request) : this.answer(request);
    const answer = await searching.finally(() => this.searches--);
    const path = answer.timingsMs.path ?? 'fulltext';
    this.metrics.searchDuration.observe({ mode: request.mode, path }, (performance.now() - started) / 1000);
    return { ...answer, timingsMs: { ...answer.timingsMs, total: performance.now() - started } };
  }

  /**
   * The map that takes vectors of another model into this generation's space, where one was fitted.
   * @param from fingerprint of the model.
   */
  queryMapFrom(from: string): Promise<QueryMap | undefined> {
    const known = this.queryMaps.get(from);
    if (known) return known;
    const read = this.threads.reader.call('queryMap', { ...this.of, from });
    this.queryMaps.set(from, read);
    read.catch(() => this.queryMaps.delete(from));
    return read;
  }

  async storeQueryMap(map: QueryMap): Promise<void> {
    await this.threads.writer.call('storeQueryMap', { name: this.name, map });
    this.queryMaps.delete(map.from.fingerprint);
  }

  /** Texts and the vectors that this collection's model made of them, spread evenly over the collection. */
  sample(limit: number): Promise<EmbeddedText[]> {
    return this.threads.reader.call('sample', { ...this.of, limit });
  }

  async info(): Promise<CollectionInfo> {
    const { next } = this;
    const [counts, index, fill] = await Promise.all([
      this.threads.reader.call('counts', this.of),
      this.threads.searcher.call('catchUp', this.of),
      next?.state(),
    ]);
    const { settings, model, generation, createdAt, previous } = this.state;
    return {
      name: this.name,
      settings,
      model,
      generation,
      building: next && fill ? { generation: next.generation, model: next.model, ...fill } : undefined,
      previous: previous && { generation: previous.generation, model: previous.model },
      createdAt,
      sequence: index.appliedSequence,
      index,
      ...counts,
    };
  }

  /**
   * Builds the graph without its tombstones, writes it, and empties files of what was deleted; reads and writes go on. When
   * this is done, nothing that was deleted before is in any file of the collection.
   */
  async compact(): Promise<void> {
    await this.threads.searcher.call('compact', this.of);
    if (this.next) await this.threads.searcher.call('compact', { name: this.name, generation: this.next.generation });
    await this.threads.compactFiles(this.name);
  }

  private answer(request: SearchRequest): Promise<SearchAnswer> {
    switch (request.mode) {
      case 'dense':
        return this.searchDense(request);
      case 'sparse':
        return this.searchSparse(request);
      case 'hybrid':
        return this.searchHybrid(request);
    }
  }

  /** Looks at several chunks for each document wanted; once more at more, where a few documents filled them all. */
  private async searchParents(request: SearchRequest): Promise<SearchAnswer> {
    let answer: SearchAnswer;
    let groups: ParentGroup[];
    let chunks = request.k;
    do {
      chunks = Math.min(K_MAX, chunks * CHUNKS_PER_PARENT);
      answer = await this.answer({ ...request, k: chunks });
      groups = groupByParent(answer.results, request.k, CHUNKS_PER_PARENT);
    } while (groups.length < request.k && answer.results.length === chunks && chunks < K_MAX);
    const documents = await this.get(
      groups.map(({ id }) => id),
      request.include,
    );
    const byId = new Map(documents.map((document) => [document.id, document]));
    const results = groups.flatMap((group) => {
      const document = byId.get(group.id);
      return document ? [parentResult(group, document)] : [];
    });
    return { ...answer, results };
  }

  private async searchDense(request: SearchRequest): Promise<SearchAnswer> {
    const dense = await this.dense(request, request.k, request.include);
    const results = dense.ranked.flatMap(({ label, score }) => {
      const document = dense.documents.get(label);
      return document ? [{ ...document, score, denseScore: score }] : [];
    });
    return { results, timingsMs: timingsOf(dense) };
  }

  private async searchSparse(request: SearchRequest): Promise<SearchAnswer> {
    const { ranked, searchMs } = await this.sparse(request, request.k);
    const passing = aboveMinScore(ranked, request.minScore);
    const results = await this.fetched(passing, request.include, new Map(), scoresOf(passing));
    return { results, timingsMs: { total: 0, sparse: searchMs, path: 'fulltext' } };
  }

  private async searchHybrid(request: SearchRequest): Promise<SearchAnswer> {
    const ranks = Math.max(FUSED_RANKS, request.k);
    const { minScore, ...unbounded } = request;
    // Both are async: one that threw at once would leave the other's failure to nobody, and that ends the process.
    const [dense, sparse] = await Promise.all([this.dense(unbounded, ranks), this.sparse(request, ranks)]);
    const fused = aboveMinScore(fuse(dense.ranked, sparse.ranked, request.fusion ?? FUSION_DEFAULT), minScore);
    const best = fused.slice(0, request.k);
    const results = await this.fetched(best, request.include, scoresOf(dense.ranked), scoresOf(sparse.ranked));
    return { results, timingsMs: { ...timingsOf(dense), sparse: sparse.searchMs } };
  }

  private async dense(request: SearchRequest, k: number, include?: readonly Include[]): Promise<DenseAnswer> {
    if (!request.vector) throw refuse('vector', `mode ${request.mode} needs a query or a vector`);
    const { filter, efSearch, exact = false, minScore } = request;
    const dense = {
      vector: unitVector(request.vector, 'vector', this.model.dimensions),
      k,
      exact,
      ...(include ? { include } : {}),
      ...(filter ? { filter: filterToSql(filter) } : {}),
      ...(efSearch === undefined ? {} : { efSearch }),
      ...(minScore === undefined ? {} : { minScore }),
    };
    return this.threads.searcher.call('search', { ...this.of, request: dense });
  }

  private async sparse(request: SearchRequest, limit: number): Promise<{ ranked: Ranked[]; searchMs: number }> {
    if (request.text === undefined)
      throw refuse('query', `mode ${request.mode} needs a text; with a vector alone, use dense`);
    const filter = request.filter && filterToSql(request.filter);
    return this.threads.reader.call('fullText', { name: this.name, query: request.text, limit, filter });
  }

  /** A document that went between the search and here is left out. */
  private async fetched(
    ranked: readonly Ranked[],
    include: readonly Include[],
    dense: ReadonlyMap<number, number>,
    sparse: ReadonlyMap<number, number>,
  ): Promise<SearchResult[]> {
    const labels = ranked.map(({ label }) => label);
    const documents = await this.threads.reader.call('byLabels', { ...this.of, labels, include });
    return ranked.flatMap(({ label, score }) => {
      const document = documents.get(label);
      const denseScore = dense.get(label);
      const sparseScore = sparse.get(label);
      if (!document) return [];
      return [
        {
          ...document,
          score,
          ...(denseScore === undefined ? {} : { denseScore }),
          ...(sparseScore === undefined ? {} : { sparseScore }),
        },
      ];
    });
  }

  private committed(commitSeconds: number): void {
    this.metrics.commitDuration.observe(commitSeconds);
    this.threads.changed(this.of);
    if (this.next) this.threads.changed({ name: this.name, generation: this.next.generation });
  }
}

const refuse = (field: string, message: string): AnchorageError =>
  new AnchorageError('VALIDATION', `${field}: ${message}`, { field });

function bounded(value: number, field: string, max: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw refuse(field, `a whole number from 1 to ${max} is expected`);
}

/** An empty selection is refused: it would mean everything, which is what deleting the collection is for. */
function selected({ ids, filter }: SelectionInput) {
  if (!ids && !filter) throw refuse('ids', 'ids, a filter or both are expected');
  return { ...(ids ? { ids } : {}), ...(filter ? { filter: filterToSql(filter) } : {}) };
}

const scoresOf = (ranked: readonly Ranked[]): Map<number, number> =>
  new Map(ranked.map(({ label, score }) => [label, score]));

const aboveMinScore = (ranked: readonly Ranked[], minScore: number | undefined): Ranked[] =>
  ranked.filter(({ score }) => minScore === undefined || score >= minScore);

const timingsOf = ({ planMs, searchMs, path, selectivity, efSearch }: DenseAnswer) => ({
  total: 0,
  plan: planMs,
  dense: searchMs,
  path,
  selectivity,
  ...(efSearch === undefined ? {} : { efSearch }),
});
