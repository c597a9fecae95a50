/**
 * How a filtered dense search is answered, after an estimate of how many vectors pass.
 *
 *   few pass  -> 'exact': the passing labels are fetched by SQL and scored one by one. No graph can lose them.
 *   many pass -> 'hnsw': the graph is walked with efSearch / selectivity, and what it finds is filtered. Where that finds
 *                too few (the filter lies on the query's far side), the walk is widened, and at last given up for 'exact'.
 *
 * The estimate is the share of a sample of rows that pass (512 rows: a selectivity of 1% is read as 0.3% to 2%, 19 times of
 * 20), which costs about a millisecond however large the collection.
 *
 * The labels that pass are kept by filter and brought up to date from the changes, so a filter that comes again (a tenant,
 * a language) is not scanned for again.
 */
import type { DocumentReader } from './document-reader.js';
import type { FilterSql } from './filter.js';

const SAMPLE_ROWS = 512;
/** Passing vectors up to which exact scoring (0.2 to 0.4 microseconds a vector) is at least as fast as a wide walk. */
const EXACT_MAX = 5_000;
const CACHED_FILTERS_MAX = 64;
/** Its multiples spread evenly over [0, 1) and follow no period of the data, as every n-th row could. */
const GOLDEN_RATIO = 0.618033988749895;

export interface FilterPlan {
  readonly path: 'exact' | 'hnsw';
  /** Share of vectors that pass, estimated; exact where they were counted. */
  readonly selectivity: number;
  /** All that pass; only on the exact path. */
  readonly labels?: ReadonlySet<number>;
}

interface Passing {
  readonly labels: Set<number>;
  sequence: number;
}

export class FilterPlanner {
  private readonly reader: DocumentReader;
  /** Least lately used first. */
  private readonly cache = new Map<string, Passing>();

  constructor(reader: DocumentReader) {
    this.reader = reader;
  }

  /** @param labels all live labels, to sample from. @param appliedSequence of those labels. */
  plan(filter: FilterSql, labels: readonly number[], appliedSequence: number): FilterPlan {
    const cached = this.cached(filter, appliedSequence);
    if (cached) return { path: 'exact', selectivity: cached.size / Math.max(1, labels.length), labels: cached };
    const selectivity = this.estimate(filter, labels);
    // A sample without a hit says "below 0.6%", no more: whether that is few is then counted.
    if (selectivity * labels.length > EXACT_MAX) return { path: 'hnsw', selectivity };
    const passing = this.passing(filter, EXACT_MAX * 2);
    if (passing === undefined) return { path: 'hnsw', selectivity };
    this.remember(filter, { labels: passing, sequence: appliedSequence });
    return { path: 'exact', selectivity: passing.size / Math.max(1, labels.length), labels: passing };
  }

  /** Which of these labels pass. */
  passingOf(filter: FilterSql, labels: readonly number[]): Set<number> {
    return new Set(
      this.reader.db
        .prepare(
          `SELECT d.label FROM documents d WHERE d.label IN (SELECT value FROM json_each(?)) AND ${filter.where}`,
        )
        .pluck()
        .all(JSON.stringify(labels), ...filter.parameters) as number[],
    );
  }

  /** All vectors that pass, or undefined where there are more than `max`. */
  passing(filter: FilterSql, max: number): Set<number> | undefined {
    const labels = this.reader.db
      .prepare(`SELECT d.label FROM documents d WHERE ${filter.where} AND d.searchable = 1 LIMIT ?`)
      .pluck()
      .all(...filter.parameters, Math.min(max, 2 ** 52) + 1) as number[];
    return labels.length > max ? undefined : new Set(labels);
  }

  private estimate(filter: FilterSql, labels: readonly number[]): number {
    if (labels.length === 0) return 0;
    const sample = Array.from(
      { length: Math.min(SAMPLE_ROWS, labels.length) },
      (_, i) => labels[Math.floor(((i * GOLDEN_RATIO) % 1) * labels.length)]!,
    );
    const distinct = new Set(sample);
    return this.passingOf(filter, [...distinct]).size / distinct.size;
  }

  private cached(filter: FilterSql, appliedSequence: number): ReadonlySet<number> | undefined {
    const key = keyOf(filter);
    const passing = this.cache.get(key);
    if (!passing) return undefined;
    this.cache.delete(key);
    if (passing.sequence < appliedSequence) this.bringUpToDate(filter, passing, appliedSequence);
    if (passing.labels.size > EXACT_MAX * 2) return undefined;
    this.cache.set(key, passing);
    return passing.labels;
  }

  /** Labels that are gone may stay: no search finds a label that is not in the table. */
  private bringUpToDate(filter: FilterSql, passing: Passing, appliedSequence: number): void {
    const changed = this.reader.db
      .prepare('SELECT label FROM documents WHERE sequence > ? AND searchable = 1')
      .pluck()
      .all(passing.sequence) as number[];
    const pass = this.passingOf(filter, changed);
    for (const label of changed) {
      if (pass.has(label)) passing.labels.add(label);
      else passing.labels.delete(label);
    }
    const gone = this.reader.db.prepare('SELECT label FROM tombstones WHERE sequence > ?').pluck();
    for (const label of gone.all(passing.sequence) as number[]) passing.labels.delete(label);
    passing.sequence = appliedSequence;
  }

  private remember(filter: FilterSql, passing: Passing): void {
    const oldest = this.cache.keys().next();
    if (this.cache.size >= CACHED_FILTERS_MAX && !oldest.done) this.cache.delete(oldest.value);
    this.cache.set(keyOf(filter), passing);
  }
}

const keyOf = (filter: FilterSql): string => JSON.stringify([filter.where, filter.parameters]);
