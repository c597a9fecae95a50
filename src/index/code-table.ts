/**
 * The codes of all live vectors, in memory, for exact passes. Always true: rows 0 … size-1 are dense (the last row moves
 * into the place of one that goes, and its old place is zeroed), and labels <-> rows are one to one. Rows lie in blocks, so
 * that growing copies nothing.
 */
import type * as Usearch from 'usearch';
import type { Code, Codec } from './codes.js';
import type { Ranked } from './fusion.js';
import { bitAgreement, dot } from './kernels.js';
import { usearch } from './usearch.js';

/** Rows of one block: 6 MiB at 384 floats. A pass yields between blocks, if it is asked to. */
const BLOCK_ROWS = 4096;
/** Rows that are brought together for one native call when the rows asked for are scattered. */
const GATHER_ROWS = 512;
const NATIVE_ROWS_MIN = 64;

export class CodeTable {
  readonly codec: Codec;
  private readonly blocks: Code[] = [];
  private readonly labels: number[] = [];
  private readonly rows = new Map<number, number>();

  constructor(codec: Codec) {
    this.codec = codec;
  }

  get size(): number {
    return this.labels.length;
  }

  get bytes(): number {
    return this.blocks.length * BLOCK_ROWS * this.codec.bytes;
  }

  has(label: number): boolean {
    return this.rows.has(label);
  }

  /** Live labels, in no order. */
  allLabels(): readonly number[] {
    return this.labels;
  }

  add(label: number, vector: Float32Array): void {
    const row = this.labels.length;
    if (row === this.blocks.length * BLOCK_ROWS) this.blocks.push(this.codec.allocate(BLOCK_ROWS));
    this.codec.encode(vector, this.blockOf(row), offsetIn(row, this.codec));
    this.labels.push(label);
    this.rows.set(label, row);
  }

  remove(label: number): void {
    const row = this.rows.get(label);
    if (row === undefined) return;
    const last = this.labels.length - 1;
    const lastLabel = this.labels.pop()!;
    const lastCode = this.codeAt(last);
    if (row !== last) {
      this.blockOf(row).set(lastCode as Float32Array & Int8Array & Uint32Array, offsetIn(row, this.codec));
      this.labels[row] = lastLabel;
      this.rows.set(lastLabel, row);
    }
    lastCode.fill(0);
    this.rows.delete(label);
    if (last % BLOCK_ROWS === 0) this.blocks.length = last / BLOCK_ROWS;
  }

  /** A view; undefined where the label is not live. */
  code(label: number): Code | undefined {
    const row = this.rows.get(label);
    return row === undefined ? undefined : this.codeAt(row);
  }

  /** The query's code against one row's. */
  score(query: Code, label: number): number | undefined {
    const row = this.rows.get(label);
    return row === undefined ? undefined : this.scoreOf(this.blockOf(row), offsetIn(row, this.codec), query);
  }

  encodeQuery(vector: Float32Array): Code {
    const code = this.codec.allocate(1);
    this.codec.encode(vector, code, 0);
    return code;
  }

  /** Best `k` of the given labels (those that are live), best first. */
  nearestAmong(query: Code, labels: Iterable<number>, k: number): Ranked[] {
    const live: number[] = [];
    for (const label of labels) if (this.rows.has(label)) live.push(label);
    const native = query instanceof Uint32Array ? null : usearch();
    if (native === null || live.length < NATIVE_ROWS_MIN) {
      return best(
        live.map((label) => ({ label, score: this.score(query, label)! })),
        k,
      );
    }
    const found: Ranked[] = [];
    const gathered = this.codec.allocate(Math.min(GATHER_ROWS, live.length));
    for (let first = 0; first < live.length; first += GATHER_ROWS) {
      const some = live.slice(first, first + GATHER_ROWS);
      for (const [at, label] of some.entries()) this.copyCode(label, gathered, at * this.codec.length);
      found.push(...this.nearestOf(gathered, some, query, k, native));
    }
    return best(found, k);
  }

  /** Best `k` of all, block by block. */
  nearest(query: Code, k: number): Ranked[] {
    const found: Ranked[] = [];
    for (let block = 0; block < this.blocks.length; block++) found.push(...this.nearestInBlock(query, block, k));
    return best(found, k);
  }

  private nearestInBlock(query: Code, index: number, k: number): Ranked[] {
    const first = index * BLOCK_ROWS;
    const labels = this.labels.slice(first, first + BLOCK_ROWS);
    const block = this.blocks[index]!;
    const native = block instanceof Uint32Array ? null : usearch();
    if (native !== null) return this.nearestOf(block, labels, query, k, native);
    return best(
      labels.map((label) => ({ label, score: this.score(query, label)! })),
      k,
    );
  }

  /**
   * usearch's scan: 0.08 microseconds a row of 384 floats, 0.02 of bytes, where the loop here takes 0.35. It reads from the
   * start of the underlying buffer, whatever a view's offset: `codes` and `query` both begin at theirs. One thread, as the
   * others are at work on the model.
   */
  private nearestOf(codes: Code, labels: readonly number[], query: Code, k: number, native: typeof Usearch): Ranked[] {
    const { length } = this.codec;
    const { keys, distances } = native.exactSearch(
      (codes as Float32Array).subarray(0, labels.length * length),
      query as Float32Array,
      length,
      Math.min(k, labels.length),
      native.MetricKind.IP,
      1,
    ) as { keys: BigUint64Array; distances: Float32Array };
    return Array.from(keys, (key, rank) => ({ label: labels[Number(key)]!, score: 1 - distances[rank]! }));
  }

  private copyCode(label: number, into: Code, offset: number): void {
    into.set(this.codeAt(this.rows.get(label)!) as Float32Array & Int8Array & Uint32Array, offset);
  }

  private scoreOf(block: Code, offset: number, query: Code): number {
    return block instanceof Uint32Array
      ? bitAgreement(block, offset, query as Uint32Array, this.codec.length)
      : dot(block, offset, query as Float32Array, this.codec.length);
  }

  private blockOf(row: number): Code {
    return this.blocks[Math.floor(row / BLOCK_ROWS)]!;
  }

  private codeAt(row: number): Code {
    const offset = offsetIn(row, this.codec);
    return this.blockOf(row).subarray(offset, offset + this.codec.length);
  }
}

const offsetIn = (row: number, codec: Codec): number => (row % BLOCK_ROWS) * codec.length;

/** Ties go to the lower label, so that equal input gives equal output. */
function best(scored: Ranked[], k: number): Ranked[] {
  return scored.sort((a, b) => b.score - a.score || a.label - b.label).slice(0, k);
}
