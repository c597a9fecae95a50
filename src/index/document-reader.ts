/** The reads of one collection, on a connection of their own: documents, pages, changes, vectors. Nothing here writes. */
import type { Statement } from 'better-sqlite3';
import { isBlank } from '../blank.js';
import { AnchorageError } from '../errors.js';
import {
  blobToVector,
  type CollectionState,
  type Connection,
  readState,
  stateOfGeneration,
  vectorTable,
} from './database.js';
import type { EmbeddedAs } from './documents.js';
import type { FilterSql } from './filter.js';
import { WAITING } from './generations.js';

export const INCLUDES = ['text', 'metadata', 'vector'] as const;
export type Include = (typeof INCLUDES)[number];

export interface StoredDocument {
  readonly id: string;
  readonly text?: string;
  readonly metadata?: Record<string, unknown>;
  /** Length 1. */
  readonly vector?: Float32Array;
  /** Of a chunk: its document, and where in the document's text it lies. */
  readonly parent?: string;
  readonly start?: number;
  readonly stop?: number;
}

export interface Page {
  readonly documents: StoredDocument[];
  /** Absent on the last page. */
  readonly cursor?: string;
}

export interface PageRequest {
  readonly ids?: readonly string[];
  readonly filter?: FilterSql;
  readonly limit: number;
  readonly cursor?: string;
  readonly include: readonly Include[];
}

export interface Counts {
  /** Whole documents; chunks are not counted. */
  readonly documents: number;
  readonly chunks: number;
  readonly vectors: number;
}

/** A row that was embedded whole. */
export interface EmbeddedText {
  readonly id: string;
  readonly text: string;
  readonly vector: Float32Array;
}

/** A row whose text is to be embedded by another model. */
export interface WaitingText {
  readonly label: number;
  readonly id: string;
  /** Undefined where the document came with a vector alone. */
  readonly text: string | undefined;
  readonly embeddedAs: EmbeddedAs;
  /** Of a chunk. */
  readonly parent?: string;
  readonly start?: number;
  readonly stop?: number;
}

/** A text that was cut, and where. */
export interface CutText {
  readonly text: string;
  readonly spans: readonly { readonly label: number; readonly start: number; readonly stop: number }[];
}

export interface Changes {
  readonly added: readonly { readonly label: number; readonly vector: Buffer }[];
  readonly removed: readonly number[];
}

interface Row {
  readonly label: number;
  readonly id: string;
  readonly parent: string | null;
  readonly start: number | null;
  readonly stop: number | null;
  readonly text?: string | null;
  readonly metadata?: string;
  readonly vector?: Buffer | null;
}

/** Knuth's multiplicative hash: neighbours in the order of labels land far apart. */
const SCATTER = 2654435761;

export class DocumentReader {
  readonly db: Connection;
  /** Whose vectors this reads. */
  private readonly generation: number;
  private readonly sequenceStatement;
  private readonly inTransaction: (read: () => unknown) => unknown;
  /** By their SQL: preparing one costs as much as fetching ten rows by it. */
  private readonly rowStatements = new Map<string, Statement>();

  constructor(db: Connection, generation: number) {
    this.db = db;
    this.generation = generation;
    this.inTransaction = db.transaction((read: () => unknown) => read());
    this.sequenceStatement = db.prepare(`SELECT value FROM meta WHERE key = 'sequence'`).pluck();
  }

  /** With this generation as the live one. */
  get state(): CollectionState {
    return stateOfGeneration(readState(this.db), this.generation);
  }

  /** The last committed change. */
  get sequence(): number {
    return this.sequenceStatement.get() as number;
  }

  /** Everything inside sees one commit. */
  atOneCommit<T>(read: () => T): T {
    return (this.db.inTransaction ? read() : this.inTransaction(read)) as T;
  }

  counts(): Counts {
    const row = this.db
      .prepare('SELECT count(*) AS rows, count(parent) AS chunks, sum(searchable) AS vectors FROM documents')
      .get() as { rows: number; chunks: number; vectors: number | null };
    return { documents: row.rows - row.chunks, chunks: row.chunks, vectors: row.vectors ?? 0 };
  }

  /** Whole documents in the order of their last upsert. A cursor stays good while documents come and go. */
  page(request: PageRequest): Page {
    const conditions = ['d.label > ?', request.ids ? 'd.id IN (SELECT value FROM json_each(?))' : 'd.parent IS NULL'];
    const parameters: (string | number)[] = [request.cursor === undefined ? 0 : labelOfCursor(request.cursor)];
    if (request.ids) parameters.push(JSON.stringify(request.ids));
    if (request.filter) {
      conditions.push(request.filter.where);
      parameters.push(...request.filter.parameters);
    }
    const where = `${conditions.join(' AND ')} ORDER BY d.label LIMIT ${request.limit + 1}`;
    const rows = this.db.prepare(this.select(request.include, where)).all(parameters) as Row[];
    const page = rows.slice(0, request.limit);
    const documents = page.map((row) => toDocument(row));
    if (rows.length <= request.limit) return { documents };
    return { documents, cursor: cursorOfLabel(page[page.length - 1]!.label) };
  }

  /** @returns what is still there, by label. */
  byLabels(labels: readonly number[], include: readonly Include[]): Map<number, StoredDocument> {
    const rows = this.rowsOf<Row>(labels, this.select(include, 'd.label = ?'));
    return new Map(rows.map((row) => [row.label, toDocument(row)]));
  }

  byIds(ids: readonly string[], include: readonly Include[]): StoredDocument[] {
    const rows = this.db
      .prepare(this.select(include, 'd.id IN (SELECT value FROM json_each(?))'))
      .all(JSON.stringify(ids)) as Row[];
    const found = new Map(rows.map((row) => [row.id, toDocument(row)]));
    return ids.flatMap((id) => found.get(id) ?? []);
  }

  /** Calls back for each vector of the live generation, in the order of labels. */
  forEachVector(each: (label: number, vector: Float32Array) => void, range?: { after: number; limit: number }): void {
    const rows = this.db
      .prepare(`SELECT label, vector FROM ${vectorTable(this.generation)} WHERE label > ? ORDER BY label LIMIT ?`)
      .iterate(range?.after ?? 0, range?.limit ?? -1) as IterableIterator<{ label: number; vector: Buffer }>;
    for (const { label, vector } of rows) each(label, blobToVector(vector));
  }

  vectors(labels: readonly number[]): Map<number, Float32Array> {
    const sql = `SELECT label, vector FROM ${vectorTable(this.generation)} WHERE label = ?`;
    const rows = this.rowsOf<{ label: number; vector: Buffer }>(labels, sql);
    return new Map(rows.map(({ label, vector }) => [label, blobToVector(vector)]));
  }

  /** Vectors that came after `label` (labels only grow) and labels that went after `sequence`. */
  changesAfter({ label, sequence }: { label: number; sequence: number }): Changes {
    const added = this.db
      .prepare(`SELECT label, vector FROM ${vectorTable(this.generation)} WHERE label > ? ORDER BY label`)
      .all(label) as { label: number; vector: Buffer }[];
    const removed = this.db
      .prepare('SELECT label FROM tombstones WHERE sequence > ?')
      .pluck()
      .all(sequence) as number[];
    return { added, removed };
  }

  /** The next rows without a vector of this generation, by label. */
  waiting(limit: number): WaitingText[] {
    const rows = this.db
      .prepare(
        `SELECT d.label, d.id, d.parent, d.start, d.stop, d.embedded_as AS embeddedAs, t.text
         FROM documents d LEFT JOIN texts t ON t.label = d.label
         WHERE d.label IN (${WAITING(this.generation)} LIMIT ?) ORDER BY d.label`,
      )
      .all(limit) as (Row & { embeddedAs: string | null })[];
    return rows.map(({ label, embeddedAs, ...row }) => ({
      label,
      ...toDocument({ label, ...row }),
      text: row.text ?? undefined,
      embeddedAs: embeddedAs === null ? {} : (JSON.parse(embeddedAs) as EmbeddedAs),
    }));
  }

  /** Rows with a text that is not blank, in an order that has nothing to do with when they came. */
  sample(limit: number): EmbeddedText[] {
    const rows = this.db
      .prepare(
        `SELECT d.id, t.text, v.vector FROM documents d JOIN texts t ON t.label = d.label
         JOIN ${vectorTable(this.generation)} v ON v.label = d.label
         WHERE d.label IN (
           SELECT label FROM documents WHERE searchable = 1 AND embedded_as IS NULL
           ORDER BY (label * ${SCATTER}) % ${2 ** 32} LIMIT ?)`,
      )
      .all(limit) as { id: string; text: string; vector: Buffer }[];
    return rows
      .filter(({ text }) => !isBlank(text))
      .map(({ id, text, vector }) => ({ id, text, vector: blobToVector(vector) }));
  }

  /** How many rows that have, or wait for, a vector of this generation. */
  fillState(): { filled: number; waiting: number } {
    const last = `(SELECT coalesce(max(label), 0) FROM ${vectorTable(this.generation)})`;
    const sql = `SELECT count(*) FILTER (WHERE label <= ${last}) AS filled, count(*) FILTER (WHERE label > ${last}) AS waiting
      FROM documents WHERE searchable = 1`;
    return this.db.prepare(sql).get() as { filled: number; waiting: number };
  }

  /**
   * Of the rows that wait: how many cannot be embedded, and one of them. A chunk that is pooled from its document's text may
   * be blank itself.
   */
  withoutText(): { count: number; id: string | null } {
    const sql = `SELECT count(*) AS count, min(d.id) AS id FROM documents d LEFT JOIN texts t ON t.label = d.label
      WHERE d.label IN (${WAITING(this.generation)})
        AND (t.label IS NULL OR (is_blank(t.text) AND json_extract(d.embedded_as, '$.situated') IS NULL))`;
    return this.db.prepare(sql).get() as { count: number; id: string | null };
  }

  /** A document's text and its chunks. */
  cutText(parent: string): CutText {
    const text = this.db
      .prepare('SELECT t.text FROM texts t JOIN documents d ON d.label = t.label WHERE d.id = ?')
      .pluck()
      .get(parent) as string;
    const chunks = 'SELECT label, start, stop FROM documents WHERE parent = ? ORDER BY ordinal';
    return { text, spans: this.db.prepare(chunks).all(parent) as CutText['spans'] };
  }

  /** One by one, which is faster than a join with json_each of the labels. @param sql with the label as its parameter. */
  private rowsOf<T>(labels: readonly number[], sql: string): T[] {
    const statement = this.rowStatements.get(sql) ?? this.db.prepare(sql);
    this.rowStatements.set(sql, statement);
    return this.atOneCommit(() => labels.flatMap((label) => (statement.get(label) as T | undefined) ?? []));
  }

  private select(include: readonly Include[], where: string): string {
    const columns = ['d.label', 'd.id', 'd.parent', 'd.start', 'd.stop'];
    const joins: string[] = [];
    if (include.includes('metadata')) columns.push('json(d.metadata) AS metadata');
    if (include.includes('text')) {
      columns.push('t.text');
      joins.push('LEFT JOIN texts t ON t.label = d.label');
    }
    if (include.includes('vector')) {
      columns.push('v.vector');
      joins.push(`LEFT JOIN ${vectorTable(this.generation)} v ON v.label = d.label`);
    }
    return `SELECT ${columns.join(', ')} FROM documents d ${joins.join(' ')} WHERE ${where}`;
  }
}

function toDocument(row: Row): StoredDocument {
  return {
    id: row.id,
    ...(row.text == null ? {} : { text: row.text }),
    ...(row.metadata === undefined ? {} : { metadata: JSON.parse(row.metadata) as Record<string, unknown> }),
    ...(row.vector == null ? {} : { vector: blobToVector(row.vector) }),
    ...(row.parent === null ? {} : { parent: row.parent, start: row.start!, stop: row.stop! }),
  };
}

const cursorOfLabel = (label: number): string => Buffer.from(`label:${label}`).toString('base64url');

function labelOfCursor(cursor: string): number {
  const label = /^label:(\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString())?.[1];
  if (label !== undefined) return Number(label);
  throw new AnchorageError('VALIDATION', 'cursor: not one that this server gave; start without', { field: 'cursor' });
}
