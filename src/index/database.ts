/**
 * The SQLite file of one collection: how it is opened, and its tables.
 *
 *   documents    label (never used twice: it names the vector in the graph), id, the sequence of its last change, metadata
 *                (JSONB), how its text was embedded; a chunk also has its parent's id, its ordinal, and where in the parent's
 *                text it lies
 *   texts        label -> text           (apart from documents, so that a pass over metadata reads few pages)
 *   vectors_<g>  label -> float32 little-endian, length 1; g is the generation: one model's vectors each (generations.ts)
 *   fulltext     FTS5 over texts, without a copy of them
 *   tombstones   labels that are gone, for memory that has yet to hear of it; pruned once it has
 *   meta         key -> value: settings, model, sequence, generation, and the generations that are not live
 *
 * Always true: the writer's connection commits with synchronous=FULL, so what it acknowledged survives a power cut, and
 * overwrites what is deleted (secure_delete, and FTS5's own).
 */
import { randomUUID } from 'node:crypto';
import Database from 'better-sqlite3';
import { isBlank } from '../blank.js';
import { AnchorageError } from '../errors.js';
import type { CollectionSettings, ModelIdentity } from './collection-settings.js';
import { metadataExpression, metadataPath } from './filter.js';

export type Connection = Database.Database;

const SCHEMA_VERSION = 2;
/** Five vectors of 384 dimensions fill a page of 8 KiB to 94%; 4 KiB pages would waste a quarter. */
const PAGE_BYTES = 8192;
const CHECKPOINT_PAGES = 1000;
const CACHE_KIB = 32 * 1024;

/** The one connection that writes a collection. */
export function openForWriting(path: string): Connection {
  const db = openDurable(path);
  migrate(db);
  return db;
}

/** Any file whose commits survive a power cut. better-sqlite3 is built with WAL at synchronous=NORMAL: FULL has to be asked for. */
export function openDurable(path: string): Connection {
  const db = new Database(path);
  db.pragma(`page_size = ${PAGE_BYTES}`);
  db.pragma('auto_vacuum = INCREMENTAL');
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  // macOS: fsync leaves data in the drive's cache, F_FULLFSYNC does not. Elsewhere this does nothing.
  db.pragma('fullfsync = ON');
  db.pragma('secure_delete = ON');
  db.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  db.pragma(`cache_size = -${CACHE_KIB}`);
  db.pragma('busy_timeout = 5000');
  return db;
}

/** A new file has no tables yet, and is given those of today. */
function migrate(db: Connection): void {
  if (!db.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'meta'`).get()) return;
  const version = db.prepare(`SELECT value FROM meta WHERE key = 'schemaVersion'`).pluck().get() as number;
  if (version > SCHEMA_VERSION) {
    db.close();
    const message = `${db.name} was written by a later release (schema ${version}, this one reads up to ${SCHEMA_VERSION}); update Anchorage`;
    throw new AnchorageError('CONFIG_INVALID', message);
  }
  if (version === SCHEMA_VERSION) return;
  db.transaction(() => {
    db.exec('ALTER TABLE documents ADD COLUMN embedded_as TEXT');
    db.prepare(`UPDATE meta SET value = ? WHERE key = 'schemaVersion'`).run(SCHEMA_VERSION);
  })();
}

/** Sees the newest commit at each read; never waits for the writer, nor the writer for it. Its SQL may ask is_blank(text). */
export function openForReading(path: string): Connection {
  const db = new Database(path, { readonly: true, fileMustExist: true });
  db.pragma(`cache_size = -${CACHE_KIB}`);
  db.pragma('busy_timeout = 5000');
  db.function('is_blank', { deterministic: true }, (text) => Number(isBlank(text as string)));
  return db;
}

/** One model's vectors of a collection. */
export interface Generation {
  readonly generation: number;
  readonly model: ModelIdentity;
  /** Of the codes in memory. */
  readonly dimensions: number;
}

export interface CollectionState {
  readonly settings: CollectionSettings;
  readonly model: ModelIdentity;
  /** Which life of the collection this is: a graph snapshot of another is not loaded. */
  readonly lifeId: string;
  readonly generation: number;
  /** Is being filled beside the live one. */
  readonly building: Generation | undefined;
  /** Was live before, and is kept to go back to. */
  readonly previous: Generation | undefined;
  readonly sequence: number;
  readonly createdAt: string;
}

export function createTables(db: Connection, settings: CollectionSettings, model: ModelIdentity): void {
  db.transaction(() => {
    db.exec(`
      CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
      CREATE TABLE documents (
        label INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        sequence INTEGER NOT NULL,
        metadata BLOB NOT NULL,
        searchable INTEGER NOT NULL,
        parent TEXT, ordinal INTEGER, start INTEGER, stop INTEGER,
        embedded_as TEXT
      );
      CREATE INDEX documents_by_sequence ON documents (sequence);
      CREATE INDEX documents_by_parent ON documents (parent, ordinal) WHERE parent IS NOT NULL;
      CREATE TABLE texts (label INTEGER PRIMARY KEY, text TEXT NOT NULL);
      CREATE TABLE tombstones (label INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);
      CREATE INDEX tombstones_by_sequence ON tombstones (sequence);
    `);
    createVectorTable(db, 1);
    if (settings.fullText) createFullText(db);
    for (const [position, field] of settings.indexes.entries()) createMetadataIndex(db, field, position);
    const put = db.prepare('INSERT INTO meta (key, value) VALUES (?, ?)');
    const values: Record<string, string | number> = {
      schemaVersion: SCHEMA_VERSION,
      settings: JSON.stringify(settings),
      model: JSON.stringify(model),
      lifeId: randomUUID(),
      generation: 1,
      sequence: 0,
      createdAt: new Date().toISOString(),
    };
    for (const [key, value] of Object.entries(values)) put.run(key, value);
  })();
}

export const vectorTable = (generation: number): string => `vectors_${generation}`;

export function createVectorTable(db: Connection, generation: number): void {
  db.exec(`CREATE TABLE IF NOT EXISTS ${vectorTable(generation)} (label INTEGER PRIMARY KEY, vector BLOB NOT NULL)`);
}

/** Porter stemming folds English endings; other scripts pass through it unchanged. */
function createFullText(db: Connection): void {
  db.exec(`
    CREATE VIRTUAL TABLE fulltext USING fts5(
      text, content='texts', content_rowid='label', tokenize='porter unicode61 remove_diacritics 2');
    INSERT INTO fulltext (fulltext, rank) VALUES ('secure-delete', 1);
  `);
}

function createMetadataIndex(db: Connection, field: string, position: number): void {
  const path = metadataPath(field.slice('metadata.'.length), field);
  // The table has no alias in CREATE INDEX; SQLite compares the expression without it.
  const expression = metadataExpression(path).replace('d.metadata', 'metadata');
  db.exec(`CREATE INDEX metadata_${position} ON documents (${expression})`);
}

export function readState(db: Connection): CollectionState {
  const rows = db.prepare('SELECT key, value FROM meta').all() as { key: string; value: string | number }[];
  const meta = Object.fromEntries(rows.map(({ key, value }) => [key, value]));
  return {
    settings: JSON.parse(meta.settings as string) as CollectionSettings,
    model: JSON.parse(meta.model as string) as ModelIdentity,
    lifeId: meta.lifeId as string,
    generation: meta.generation as number,
    building: meta.building === undefined ? undefined : (JSON.parse(meta.building as string) as Generation),
    previous: meta.previous === undefined ? undefined : (JSON.parse(meta.previous as string) as Generation),
    sequence: meta.sequence as number,
    createdAt: meta.createdAt as string,
  };
}

/** The state as it would be with one of its other generations live. */
export function stateOfGeneration(state: CollectionState, generation: number): CollectionState {
  const { building, previous, settings } = state;
  const other = [building, previous].find((one) => one?.generation === generation);
  if (!other) return state;
  return { ...state, generation, model: other.model, settings: { ...settings, dimensions: other.dimensions } };
}

/** A view of the vector's own bytes; SQLite copies them. */
export const vectorToBlob = (vector: Float32Array): Buffer =>
  Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength);

/** Blobs come at any address, float views need a multiple of four: copied when they must be. */
export function blobToVector(blob: Buffer): Float32Array {
  const aligned = blob.byteOffset % 4 === 0 ? blob : Buffer.from(new Uint8Array(blob));
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}
