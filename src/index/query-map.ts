/**
 * A linear map from one model's vectors to another's, with which a collection is searched by a model that did not make its
 * vectors (query drift compensation): q' = normalize(M q). It is fitted elsewhere (jobs/query-drift.ts) and kept with the
 * collection.
 *
 *   query_maps   fingerprint of the model that is mapped from, the facts as JSON, M row by row as float32 little-endian
 */
import { AnchorageError } from '../errors.js';
import type { ModelIdentity } from './collection-settings.js';
import { blobToVector, type Connection, vectorToBlob } from './database.js';
import { dot } from './kernels.js';

/** What is known of a map, and goes with the answers that it helped to. */
export interface QueryMapFacts {
  readonly from: ModelIdentity;
  readonly to: ModelIdentity;
  readonly method: 'procrustes' | 'ridge';
  /** Texts, embedded by both models, that it was fitted from. */
  readonly fittedFrom: number;
  /** On texts that it was not fitted from. */
  readonly heldOut: {
    readonly texts: number;
    /** Mean cosine of a mapped vector and the other model's own. */
    readonly cosine: number;
    /** Share of the 10 nearest by the new model that mapped queries find among the old vectors. */
    readonly recallAt10: number;
    /** The same for the old model's own queries: what is lost without any map. */
    readonly recallAt10OfOldQueries: number;
  };
}

export interface QueryMap extends QueryMapFacts {
  /** [to.dimensions, from.dimensions], row by row. */
  readonly matrix: Float32Array;
}

/** @param vector [from.dimensions]. @returns [to.dimensions], of length 1. @throws AnchorageError VALIDATION. */
export function mapVector({ matrix, from, to }: QueryMap, vector: Float32Array): Float32Array {
  const { length } = vector;
  if (length !== from.dimensions) {
    const message = `vector: ${length} dimensions, where ${from.id} has ${from.dimensions}`;
    throw new AnchorageError('VALIDATION', message, { field: 'vector' });
  }
  const mapped = new Float32Array(to.dimensions);
  for (let row = 0; row < mapped.length; row++) mapped[row] = dot(matrix, row * length, vector, length);
  const norm = Math.sqrt(dot(mapped, 0, mapped, mapped.length));
  return norm === 0 ? mapped : mapped.map((value) => value / norm);
}

const TABLE =
  'CREATE TABLE IF NOT EXISTS query_maps (fingerprint TEXT PRIMARY KEY, facts TEXT NOT NULL, matrix BLOB NOT NULL)';

/** Replaces the map from the same model. */
export function storeQueryMap(db: Connection, { matrix, ...facts }: QueryMap): void {
  db.transaction(() => {
    db.exec(TABLE);
    db.prepare('INSERT OR REPLACE INTO query_maps VALUES (?, ?, ?)').run(
      facts.from.fingerprint,
      JSON.stringify(facts),
      vectorToBlob(matrix),
    );
  })();
}

/** @returns the map from that model to the one whose vectors are live; undefined where there is none. */
export function readQueryMap(db: Connection, from: string, to: string): QueryMap | undefined {
  if (!db.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'query_maps'`).get()) return undefined;
  const row = db.prepare('SELECT facts, matrix FROM query_maps WHERE fingerprint = ?').get(from) as
    | { facts: string; matrix: Buffer }
    | undefined;
  if (!row) return undefined;
  const facts = JSON.parse(row.facts) as QueryMapFacts;
  return facts.to.fingerprint === to ? { ...facts, matrix: blobToVector(row.matrix) } : undefined;
}
