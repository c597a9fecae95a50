/**
 * The durable half of the jobs: the tables of `<dataDir>/jobs.sqlite`, through the index's driver and pragmas.
 *
 *   jobs     a row a job; `position` is the order of the queue; `memory` is the job's own
 *   events   what happened in a job, numbered from 1
 *   meta     key -> JSON: what outlives jobs, as the model that is live (live-model.ts)
 *
 * Always true: what a call answered is on disk (synchronous=FULL). All calls are synchronous and come from the one thread
 * that store-worker.ts is.
 */
import { createHash } from 'node:crypto';
import { AnchorageError } from '../errors.js';
import { type Connection, openDurable } from '../index/database.js';
import { isOver, JOB_STATES, JOB_TYPES, type Job, type JobEvent, type JobMemory, type JobState } from './job.js';
import { type EventRow, eventOf, type JobRow, jobOf } from './job-rows.js';
import type { Counted, JobPatch, NewEvent, NewJob, RepeatableRequest } from './store-operations.js';

/** Progress events of a job that are kept. */
const PROGRESS_EVENTS_MAX = 4_000;
const THIN_EVERY_EVENTS = 500;
const EVENTS_A_PAGE = 1_000;
/** Columns that a patch may set, and whether they hold JSON. */
const COLUMNS: Readonly<Record<keyof JobPatch, { column: string; json: boolean }>> = {
  state: { column: 'state', json: false },
  stage: { column: 'stage', json: false },
  progress: { column: 'progress', json: false },
  etaSeconds: { column: 'eta_seconds', json: false },
  startedAt: { column: 'started_at', json: false },
  finishedAt: { column: 'finished_at', json: false },
  attempts: { column: 'attempts', json: false },
  metrics: { column: 'metrics', json: true },
  artifacts: { column: 'artifacts', json: true },
  error: { column: 'error', json: true },
  memory: { column: 'memory', json: true },
  process: { column: 'process', json: true },
};

export class JobTables {
  private readonly db: Connection;

  constructor(file: string) {
    this.db = openDurable(file);
    this.db.exec(`
      CREATE TABLE IF NOT EXISTS jobs (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL, state TEXT NOT NULL, params TEXT NOT NULL,
        stage TEXT, progress REAL NOT NULL DEFAULT 0, eta_seconds REAL,
        created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT, attempts INTEGER NOT NULL DEFAULT 0,
        metrics TEXT NOT NULL DEFAULT '{}', artifacts TEXT NOT NULL DEFAULT '{}', error TEXT,
        memory TEXT NOT NULL DEFAULT '{"steps":{}}', process TEXT,
        idempotency_key TEXT UNIQUE, request_hash TEXT
      );
      CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, position);
      CREATE TABLE IF NOT EXISTS events (
        job TEXT NOT NULL, sequence INTEGER NOT NULL, at TEXT NOT NULL, event TEXT NOT NULL, data TEXT NOT NULL,
        PRIMARY KEY (job, sequence)
      ) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    `);
  }

  /**
   * Puts a job at the end of the queue; the one that the same idempotency key made before is given back instead.
   * @throws AnchorageError OVERLOADED where the queue is full, CONFLICT where the key belongs to another request.
   */
  create({ id, type, params, createdAt, queuedMax, idempotencyKey }: NewJob): { job: Job; isNew: boolean } {
    const request = { type, params, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) };
    return this.db.transaction(() => {
      const before = this.find(request);
      if (before) return { job: before, isNew: false };
      const queued = this.db.prepare("SELECT count(*) FROM jobs WHERE state = 'queued'").pluck().get() as number;
      if (queued >= queuedMax) {
        const message = `${queued} jobs are waiting, the most allowed; cancel one, or wait until one has run`;
        throw new AnchorageError('OVERLOADED', message, { retryAfterSeconds: 60 });
      }
      this.db
        .prepare(
          `INSERT INTO jobs (id, type, state, params, created_at, idempotency_key, request_hash)
           VALUES (?, ?, 'queued', ?, ?, ?, ?)`,
        )
        .run(id, type, JSON.stringify(params), createdAt, idempotencyKey ?? null, hashOf(request));
      return { job: this.get({ id })!, isNew: true };
    })();
  }

  /** The job that the same idempotency key made before. @throws AnchorageError CONFLICT where that was another request. */
  find({ idempotencyKey, ...request }: RepeatableRequest): Job | undefined {
    const before = idempotencyKey === undefined ? undefined : this.byKey(idempotencyKey);
    if (!before) return undefined;
    if (before.request_hash === hashOf(request)) return jobOf(before);
    const message = `Idempotency-Key: it belongs to job ${before.id}, which was asked for with other params; take a new one`;
    throw new AnchorageError('CONFLICT', message, { field: 'Idempotency-Key' });
  }

  get({ id }: { id: string }): Job | undefined {
    const row = this.row(id);
    return row && jobOf(row);
  }

  memory({ id }: { id: string }): JobMemory {
    return JSON.parse(this.row(id)!.memory) as JobMemory;
  }

  /** Newest first. */
  list({ limit, state }: { limit: number; state?: JobState }): Job[] {
    const where = state === undefined ? '' : 'WHERE state = ?';
    const rows = this.db
      .prepare(`SELECT * FROM jobs ${where} ORDER BY position DESC LIMIT ?`)
      .all(...(state === undefined ? [] : [state]), limit) as JobRow[];
    return rows.map(jobOf);
  }

  /** Those of one state, in the order of the queue; `process` is what was noted when its subprocess began. */
  inOrder({ state }: { state: JobState }): { job: Job; process: unknown }[] {
    const rows = this.db.prepare('SELECT * FROM jobs WHERE state = ? ORDER BY position').all(state) as JobRow[];
    return rows.map((row) => ({
      job: jobOf(row),
      process: row.process === null ? undefined : JSON.parse(row.process),
    }));
  }

  /** Sets what the patch names and adds the events, in one commit. A job that is over stays as it is. */
  update({ id, patch, events = [] }: { id: string; patch: JobPatch; events?: readonly NewEvent[] }): JobEvent[] {
    return this.db.transaction(() => {
      const state = this.db.prepare('SELECT state FROM jobs WHERE id = ?').pluck().get(id) as JobState | undefined;
      if (state === undefined || isOver(state)) return [];
      const fields = Object.entries(patch) as [keyof JobPatch, unknown][];
      if (fields.length > 0) {
        const assignments = fields.map(([field]) => `${COLUMNS[field].column} = ?`).join(', ');
        const values = fields.map(([field, value]) =>
          COLUMNS[field].json && value !== null ? JSON.stringify(value) : value,
        );
        this.db.prepare(`UPDATE jobs SET ${assignments} WHERE id = ?`).run(...values, id);
      }
      return events.map((event) => this.append(id, event));
    })();
  }

  events({ id, after }: { id: string; after: number }): JobEvent[] {
    const rows = this.db
      .prepare('SELECT * FROM events WHERE job = ? AND sequence > ? ORDER BY sequence LIMIT ?')
      .all(id, after, EVENTS_A_PAGE) as EventRow[];
    return rows.map(eventOf);
  }

  /** Points of the training curve, at most about `points` of them, evenly over the run; the newest is always there. */
  curve({ id, points }: { id: string; points: number }): JobEvent[] {
    const rows = this.db
      .prepare(
        `SELECT * FROM events WHERE job = ? AND event = 'progress' AND json_extract(data, '$.loss') IS NOT NULL
         ORDER BY sequence`,
      )
      .all(id) as EventRow[];
    const every = Math.max(1, Math.ceil(rows.length / points));
    return rows.filter((_, at) => (rows.length - 1 - at) % every === 0).map(eventOf);
  }

  /** How many jobs there are of each type and state, zeros included. */
  counts(): Counted[] {
    const rows = this.db
      .prepare('SELECT type, state, count(*) AS jobs FROM jobs GROUP BY type, state')
      .all() as Counted[];
    const found = new Map(rows.map(({ type, state, jobs }) => [`${type} ${state}`, jobs]));
    return JOB_TYPES.flatMap((type) =>
      JOB_STATES.map((state) => ({ type, state, jobs: found.get(`${type} ${state}`) ?? 0 })),
    );
  }

  /** Removes the oldest jobs that are over, beyond `kept` and but for `except`. @returns their ids. */
  prune({ kept, except }: { kept: number; except: readonly string[] }): string[] {
    return this.db.transaction(() => {
      const ids = this.db
        .prepare(
          `SELECT id FROM jobs WHERE state NOT IN ('queued', 'running') AND id NOT IN (SELECT value FROM json_each(?))
           ORDER BY position DESC LIMIT -1 OFFSET ?`,
        )
        .pluck()
        .all(JSON.stringify(except), kept) as string[];
      for (const id of ids) {
        this.db.prepare('DELETE FROM events WHERE job = ?').run(id);
        this.db.prepare('DELETE FROM jobs WHERE id = ?').run(id);
      }
      return ids;
    })();
  }

  readMeta({ key }: { key: string }): unknown {
    const value = this.db.prepare('SELECT value FROM meta WHERE key = ?').pluck().get(key) as string | undefined;
    return value === undefined ? undefined : JSON.parse(value);
  }

  writeMeta({ key, value }: { key: string; value: unknown }): void {
    this.db.prepare('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)').run(key, JSON.stringify(value));
  }

  close(): void {
    this.db.close();
  }

  private row(id: string): JobRow | undefined {
    return this.db.prepare('SELECT * FROM jobs WHERE id = ?').get(id) as JobRow | undefined;
  }

  private byKey(key: string): JobRow | undefined {
    return this.db.prepare('SELECT * FROM jobs WHERE idempotency_key = ?').get(key) as JobRow | undefined;
  }

  private append(id: string, { event, data }: NewEvent): JobEvent {
    const last = this.db.prepare('SELECT max(sequence) FROM events WHERE job = ?').pluck().get(id) as number | null;
    const row = { sequence: (last ?? 0) + 1, at: new Date().toISOString(), event, data };
    this.db
      .prepare('INSERT INTO events (job, sequence, at, event, data) VALUES (?, ?, ?, ?, ?)')
      .run(id, row.sequence, row.at, event, JSON.stringify(data));
    if (row.sequence % THIN_EVERY_EVENTS === 0) this.thin(id);
    return row;
  }

  /** Every second point of the curves goes where there are too many; the newest stays. */
  private thin(id: string): void {
    const isProgress = "job = ? AND event = 'progress'";
    const count = this.db.prepare(`SELECT count(*) FROM events WHERE ${isProgress}`).pluck().get(id) as number;
    if (count <= PROGRESS_EVENTS_MAX) return;
    this.db
      .prepare(
        `DELETE FROM events WHERE ${isProgress} AND sequence IN (
           SELECT sequence FROM (
             SELECT sequence, row_number() OVER (ORDER BY sequence DESC) AS back FROM events WHERE ${isProgress})
           WHERE back % 2 = 0)`,
      )
      .run(id, id);
  }
}

const hashOf = ({ type, params }: RepeatableRequest): string =>
  createHash('sha256')
    .update(JSON.stringify([type, params]))
    .digest('hex');
