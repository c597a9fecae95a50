/**
 * What people made of search results: `<dataDir>/feedback.sqlite`, kept only where the setting `feedback` is on.
 *
 *   queries   a search by its id: when, where, what was asked
 *   labels    what somebody said of a document for a query; a later word replaces an earlier one
 *
 * A query goes after the time of retention, and its labels with it.
 */
import { type Connection, openDurable } from '../index/database.js';

/** 0 does not answer the query, 1 to 3 answers it, the better the higher. */
export interface Label {
  readonly queryId: string;
  readonly documentId: string;
  readonly label: number;
}

export interface AskedQuery {
  readonly id: string;
  readonly collection: string;
  readonly text: string;
}

/** One query with all that was said of it. */
export interface JudgedQuery extends AskedQuery {
  readonly labels: readonly { readonly documentId: string; readonly label: number }[];
}

const QUERIES_MAX = 1_000_000;

export class FeedbackTables {
  private readonly db: Connection;

  constructor(file: string) {
    this.db = openDurable(file);
    this.db.exec(`
      CREATE TABLE IF NOT EXISTS queries (
        id TEXT PRIMARY KEY, at INTEGER NOT NULL, collection TEXT NOT NULL, text TEXT NOT NULL
      ) WITHOUT ROWID;
      CREATE INDEX IF NOT EXISTS queries_by_time ON queries (at);
      CREATE TABLE IF NOT EXISTS labels (
        query TEXT NOT NULL REFERENCES queries (id) ON DELETE CASCADE,
        document TEXT NOT NULL, label REAL NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (query, document)
      ) WITHOUT ROWID;
    `);
    this.db.pragma('foreign_keys = ON');
  }

  /** Many searches share one commit. */
  addQueries({ queries, nowMs }: { queries: readonly AskedQuery[]; nowMs: number }): void {
    const insert = this.db.prepare('INSERT OR IGNORE INTO queries (id, at, collection, text) VALUES (?, ?, ?, ?)');
    this.db.transaction(() => {
      for (const { id, collection, text } of queries) insert.run(id, nowMs, collection, text);
    })();
  }

  query({ id }: { id: string }): AskedQuery | undefined {
    return this.db.prepare('SELECT id, collection, text FROM queries WHERE id = ?').get(id) as AskedQuery | undefined;
  }

  addLabel({ label: { queryId, documentId, label }, nowMs }: { label: Label; nowMs: number }): void {
    this.db
      .prepare('INSERT OR REPLACE INTO labels (query, document, label, at) VALUES (?, ?, ?, ?)')
      .run(queryId, documentId, label, nowMs);
  }

  /** Queries of a collection that somebody said something of, oldest first. */
  judged({ collection }: { collection: string }): JudgedQuery[] {
    const rows = this.db
      .prepare(
        `SELECT q.id, q.collection, q.text,
           json_group_array(json_object('documentId', l.document, 'label', l.label)) AS labels
         FROM queries q JOIN labels l ON l.query = q.id WHERE q.collection = ? GROUP BY q.id ORDER BY q.at, q.id`,
      )
      .all(collection) as (AskedQuery & { labels: string })[];
    return rows.map((row) => ({ ...row, labels: JSON.parse(row.labels) as JudgedQuery['labels'] }));
  }

  counts(): { queries: number; labels: number; oldestMs: number | null } {
    return this.db
      .prepare('SELECT count(*) AS queries, (SELECT count(*) FROM labels) AS labels, min(at) AS oldestMs FROM queries')
      .get() as { queries: number; labels: number; oldestMs: number | null };
  }

  /** Forgets what is older, and the oldest beyond QUERIES_MAX. @returns how many queries went. */
  forget({ beforeMs }: { beforeMs: number }): number {
    const old = this.db.prepare('DELETE FROM queries WHERE at < ?').run(beforeMs).changes;
    const many = this.db
      .prepare('DELETE FROM queries WHERE id IN (SELECT id FROM queries ORDER BY at DESC LIMIT -1 OFFSET ?)')
      .run(QUERIES_MAX).changes;
    return old + many;
  }

  close(): void {
    this.db.close();
  }
}
