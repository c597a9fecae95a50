/**
 * Generations of a collection: one model's vectors each, in a table each. A collection changes its model like this:
 *
 *   1. begin: vectors_<g+1> is made; from here on a row that goes leaves it too.
 *   2. fill: stored texts are embedded by the new model and put into it, by ascending label, while generation g serves.
 *      Documents that are written meanwhile get labels above all others, so they come last and none is passed over.
 *   3. flip: when no searchable row is without its vector, g+1 is live and g is kept as `previous`: one commit.
 *   4. drop: a generation that is neither live, being built nor previous loses its rows some at a time, then its table.
 *
 * Going back is the same way: `begin` with the previous generation's model takes its table up again, and only what was
 * written since has to be embedded.
 *
 * Always true: each of these is one transaction; after a crash the collection has the generations of its last commit, and a
 * fill goes on after the last vector that was put in.
 */
import { AnchorageError } from '../errors.js';
import type { ModelIdentity } from './collection-settings.js';
import {
  type CollectionState,
  type Connection,
  createVectorTable,
  type Generation,
  readState,
  vectorTable,
  vectorToBlob,
} from './database.js';

/** A row's vector in another generation. */
export interface LabelledVector {
  readonly label: number;
  /** Length 1. */
  readonly vector: Float32Array;
}

/** Rows that one step of dropping deletes: some 10 ms, in which other writes wait. */
const DROP_ROWS = 2000;

/** Generations whose tables hold rows of documents. */
export const keptGenerations = ({ generation, building, previous }: CollectionState): number[] =>
  [generation, building?.generation, previous?.generation].filter((one) => one !== undefined);

/**
 * Step 1. Finds the generation that is being built, where it is of the same model.
 * @param dimensions of the codes in memory.
 * @throws AnchorageError CONFLICT where another model's is being built.
 */
export function beginGeneration(db: Connection, model: ModelIdentity, dimensions: number): CollectionState {
  db.transaction(() => {
    const state = readState(db);
    const { building, previous } = state;
    if (building?.model.fingerprint === model.fingerprint) return;
    if (building) {
      const message = `Vectors of ${building.model.id} are being built in this collection; end that first`;
      throw new AnchorageError('CONFLICT', message);
    }
    if (previous?.model.fingerprint === model.fingerprint) {
      remove(db, 'previous');
      put(db, 'building', previous);
      return;
    }
    const generation = Math.max(...keptGenerations(state), ...vectorTables(db)) + 1;
    createVectorTable(db, generation);
    put(db, 'building', { generation, model, dimensions });
  })();
  return readState(db);
}

/** Step 2. A label that is gone by now is left out. @throws AnchorageError CONFLICT where that generation is not being built. */
export function fillGeneration(db: Connection, generation: number, vectors: readonly LabelledVector[]): void {
  requireBuilding(db, generation);
  const insert = db.prepare(
    `INSERT OR IGNORE INTO ${vectorTable(generation)} (label, vector)
     SELECT @label, @vector WHERE EXISTS (SELECT 1 FROM documents WHERE label = @label)`,
  );
  for (const { label, vector } of vectors) insert.run({ label, vector: vectorToBlob(vector) });
}

/** Step 3. @throws AnchorageError CONFLICT where rows still wait for their vector. */
export function flipGeneration(db: Connection, generation: number): CollectionState {
  db.transaction(() => {
    const state = readState(db);
    if (state.generation === generation) return;
    const building = requireBuilding(db, generation);
    const waiting = db
      .prepare(`SELECT count(*) FROM (${WAITING(generation)})`)
      .pluck()
      .get() as number;
    if (waiting > 0) {
      throw new AnchorageError('CONFLICT', `${waiting} documents have no vector of ${building.model.id} yet`);
    }
    const { model, settings } = state;
    put(db, 'previous', { generation: state.generation, model, dimensions: settings.dimensions });
    put(db, 'model', building.model);
    put(db, 'settings', { ...settings, dimensions: building.dimensions });
    db.prepare(`UPDATE meta SET value = ? WHERE key = 'generation'`).run(generation);
    remove(db, 'building');
  })();
  return readState(db);
}

/** Gives up what is being built, or what was kept to go back to; its table goes in step 4. */
export function forgetGeneration(db: Connection, role: 'building' | 'previous'): CollectionState {
  remove(db, role);
  return readState(db);
}

/** A step of step 4. @param inUse generations that somebody still reads. @returns whether more is to be dropped. */
export function dropSomeOfUnkept(db: Connection, inUse: readonly number[]): boolean {
  const kept = new Set([...keptGenerations(readState(db)), ...inUse]);
  const unkept = vectorTables(db).find((generation) => !kept.has(generation));
  if (unkept === undefined) return false;
  const table = vectorTable(unkept);
  const deletion = `DELETE FROM ${table} WHERE label IN (SELECT label FROM ${table} LIMIT ${DROP_ROWS})`;
  if (db.prepare(deletion).run().changes < DROP_ROWS) db.exec(`DROP TABLE ${table}`);
  return true;
}

/** Searchable rows that come after the last vector of a generation, by label: what is still to be embedded. */
export const WAITING = (generation: number): string =>
  `SELECT d.label FROM documents d WHERE d.searchable = 1
   AND d.label > (SELECT coalesce(max(label), 0) FROM ${vectorTable(generation)}) ORDER BY d.label`;

function requireBuilding(db: Connection, generation: number): Generation {
  const { building } = readState(db);
  if (building?.generation === generation) return building;
  throw new AnchorageError('CONFLICT', `Generation ${generation} is not being built (any more)`);
}

function vectorTables(db: Connection): number[] {
  const names = db.prepare(`SELECT name FROM sqlite_schema WHERE name GLOB 'vectors_[0-9]*'`).pluck().all() as string[];
  return names.map((name) => Number(name.slice('vectors_'.length)));
}

function put(db: Connection, key: string, value: object): void {
  const statement =
    'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value';
  db.prepare(statement).run(key, JSON.stringify(value));
}

function remove(db: Connection, key: string): void {
  db.prepare('DELETE FROM meta WHERE key = ?').run(key);
}
