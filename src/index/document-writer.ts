/**
 * The writes of one collection, on its one writing connection. Always true: each public write is one transaction (or one
 * savepoint of a group's) and takes the next sequence; a label is never used twice; a row that goes leaves a tombstone, and
 * leaves nothing in texts, vectors or the full-text index.
 */
import type { Statement } from 'better-sqlite3';
import { AnchorageError } from '../errors.js';
import { type CollectionState, type Connection, readState, vectorTable, vectorToBlob } from './database.js';
import type { CheckedDocument } from './documents.js';
import type { FilterSql } from './filter.js';
import { fillGeneration, keptGenerations, type LabelledVector } from './generations.js';

/** Which documents a patch or delete is for. With both, documents must pass both. */
export interface Selection {
  readonly ids?: readonly string[];
  readonly filter?: FilterSql;
}

export interface Upserted {
  readonly ids: string[];
  readonly upserted: number;
  readonly sequence: number;
}

interface Row {
  readonly label: number;
  readonly id: string;
  readonly parent: string | null;
  readonly searchable: number;
}

/** 16 MiB: other writes wait for one such step at most. */
const VACUUM_PAGES = 2048;

const ROW = 'd.label, d.id, d.parent, d.searchable';

export class DocumentWriter {
  readonly db: Connection;
  private readonly generation: number;
  private readonly isBuilding: boolean;
  private readonly statements: ReturnType<typeof prepare>;
  /** A row that goes leaves every generation. */
  private readonly deleteVector: readonly Statement[];

  /** One for each set of generations: after one began, was flipped or forgotten, another writer takes over. */
  constructor(db: Connection) {
    const state = readState(db);
    this.db = db;
    this.generation = state.generation;
    this.isBuilding = state.building !== undefined;
    this.statements = prepare(db, state);
    this.deleteVector = keptGenerations(state).map((generation) =>
      db.prepare(`DELETE FROM ${vectorTable(generation)} WHERE label = ?`),
    );
  }

  get state(): CollectionState {
    return readState(this.db);
  }

  /**
   * Replaces each document of the same id, its chunks with it.
   * @param generation that the vectors are for.
   * @throws AnchorageError MODEL_MISMATCH where another is live by now.
   */
  upsert(documents: readonly CheckedDocument[], generation: number): Upserted {
    if (generation !== this.generation) {
      throw new AnchorageError(
        'MODEL_MISMATCH',
        'The collection changed its model meanwhile; send the documents again',
      );
    }
    return this.inTransaction((sequence) => {
      for (const document of documents) this.put(document, sequence);
      return { ids: documents.map(({ id }) => id), upserted: documents.length, sequence };
    });
  }

  /** Merges `patch` (RFC 7396: null removes a field) into the metadata of the selected documents and of their chunks. */
  patchMetadata(selection: Selection, patch: string): { updated: number; sequence: number } {
    return this.inTransaction((sequence) => {
      let updated = 0;
      for (const row of this.selected(selection)) {
        updated += this.statements.patch.run(patch, sequence, row.id, row.id).changes > 0 ? 1 : 0;
      }
      return { updated, sequence };
    });
  }

  /** @returns how many documents went; chunks go with their parent and are not counted. */
  delete(selection: Selection): { deleted: number; sequence: number } {
    return this.inTransaction((sequence) => {
      const rows = this.selected(selection);
      for (const row of rows) this.remove(row, sequence);
      return { deleted: rows.length, sequence };
    });
  }

  /** Drops tombstones that memory has heard of. */
  pruneTombstones(upToSequence: number): void {
    this.db.prepare('DELETE FROM tombstones WHERE sequence <= ?').run(upToSequence);
  }

  /**
   * After deletes: gives free pages back (some; call again while there are) and empties the WAL. What was deleted is then in
   * no file: secure_delete, FTS5's too, overwrote it in the database, and the WAL was its last copy.
   */
  compact(): { freePages: number; walEmptied: boolean } {
    this.db.pragma(`incremental_vacuum(${VACUUM_PAGES})`);
    const [outcome] = this.db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
    return { freePages: this.db.pragma('freelist_count', { simple: true }) as number, walEmptied: outcome?.busy === 0 };
  }

  /** Puts vectors into the generation that is being built; a change like any other, so that readers look. */
  fill(generation: number, vectors: readonly LabelledVector[]): { sequence: number } {
    return this.inTransaction((sequence) => {
      fillGeneration(this.db, generation, vectors);
      return { sequence };
    });
  }

  private inTransaction<T>(write: (sequence: number) => T): T {
    return this.db.transaction(() => write((this.statements.nextSequence.get() as { value: number }).value))();
  }

  private put(document: CheckedDocument, sequence: number): void {
    const old = this.statements.byId.get(document.id) as Row | undefined;
    if (old?.parent != null) throw chunkConflict(document.id, old.parent);
    if (old) this.remove(old, sequence);
    const { id, metadata, text, vector, embeddedAs } = document;
    if (this.isBuilding && vector && text === undefined) throw needsText(id);
    const row = { sequence, metadata, embeddedAs };
    this.insert({ ...row, id, parent: null, ordinal: null, start: null, stop: null }, text, vector);
    for (const [ordinal, { start, stop, vector: chunkVector }] of document.chunks.entries()) {
      const place = { parent: id, ordinal, start, stop };
      const chunkId = this.freeChunkId(id, ordinal);
      this.insert({ ...row, id: chunkId, ...place }, text?.slice(start, stop), chunkVector);
    }
  }

  private freeChunkId(parent: string, ordinal: number): string {
    const id = `${parent}#${ordinal}`;
    if (this.statements.byId.get(id) === undefined) return id;
    throw new AnchorageError(
      'CONFLICT',
      `Chunk ${ordinal} of ${parent} would be called ${id}, which is a document's id; rename either`,
    );
  }

  private insert(row: Record<string, unknown>, text: string | undefined, vector: Float32Array | undefined): void {
    const { insertDocument, insertText, insertFullText, insertVector } = this.statements;
    const label = Number(insertDocument.run({ ...row, searchable: vector ? 1 : 0 }).lastInsertRowid);
    if (text !== undefined) insertText.run(label, text);
    if (!vector) return;
    insertVector.run(label, vectorToBlob(vector));
    if (text !== undefined) insertFullText?.run(label, text);
  }

  private remove(row: Row, sequence: number): void {
    if (row.parent === null) {
      for (const chunk of this.statements.chunksOf.all(row.id) as Row[]) this.removeOne(chunk, sequence);
    }
    this.removeOne(row, sequence);
  }

  private removeOne({ label, searchable }: Row, sequence: number): void {
    const { deleteFullText, deleteText, deleteDocument, insertTombstone } = this.statements;
    if (searchable) deleteFullText?.run(label);
    deleteText.run(label);
    for (const statement of this.deleteVector) statement.run(label);
    deleteDocument.run(label);
    insertTombstone.run(label, sequence);
  }

  /** Whole documents: a chunk is changed through its parent alone. */
  private selected({ ids, filter }: Selection): Row[] {
    const conditions = ['d.parent IS NULL'];
    const parameters: (string | number)[] = [];
    if (ids) {
      conditions.push('d.id IN (SELECT value FROM json_each(?))');
      parameters.push(JSON.stringify(ids));
    }
    if (filter) {
      conditions.push(filter.where);
      parameters.push(...filter.parameters);
    }
    return this.db.prepare(`SELECT ${ROW} FROM documents d WHERE ${conditions.join(' AND ')}`).all(parameters) as Row[];
  }
}

const chunkConflict = (id: string, parent: string): AnchorageError =>
  new AnchorageError('CONFLICT', `${id} is a chunk of ${parent}; change ${parent} instead, or choose another id`);

const needsText = (id: string): AnchorageError =>
  new AnchorageError(
    'CONFLICT',
    `The collection is being embedded by another model, and ${id} has no text that could be; send it with its text, or when that is done`,
  );

function prepare(db: Connection, { settings, generation }: CollectionState) {
  return {
    nextSequence: db.prepare(`UPDATE meta SET value = value + 1 WHERE key = 'sequence' RETURNING value`),
    byId: db.prepare(`SELECT ${ROW} FROM documents d WHERE d.id = ?`),
    chunksOf: db.prepare(`SELECT ${ROW} FROM documents d WHERE d.parent = ?`),
    insertDocument: db.prepare(`
      INSERT INTO documents (id, sequence, metadata, searchable, parent, ordinal, start, stop, embedded_as)
      VALUES (@id, @sequence, jsonb(@metadata), @searchable, @parent, @ordinal, @start, @stop, @embeddedAs)`),
    insertText: db.prepare('INSERT INTO texts (label, text) VALUES (?, ?)'),
    insertVector: db.prepare(`INSERT INTO ${vectorTable(generation)} (label, vector) VALUES (?, ?)`),
    insertFullText: settings.fullText ? db.prepare('INSERT INTO fulltext (rowid, text) VALUES (?, ?)') : undefined,
    deleteFullText: settings.fullText
      ? db.prepare(
          `INSERT INTO fulltext (fulltext, rowid, text) SELECT 'delete', label, text FROM texts WHERE label = ?`,
        )
      : undefined,
    deleteText: db.prepare('DELETE FROM texts WHERE label = ?'),
    deleteDocument: db.prepare('DELETE FROM documents WHERE label = ?'),
    insertTombstone: db.prepare('INSERT INTO tombstones (label, sequence) VALUES (?, ?)'),
    patch: db.prepare(
      `UPDATE documents SET metadata = jsonb_patch(metadata, ?), sequence = ? WHERE id = ? OR parent = ?`,
    ),
  };
}
