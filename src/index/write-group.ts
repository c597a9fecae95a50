/** Writes that are committed together; see writer-worker.ts for why. */
import type { Connection } from './database.js';
import { storageError } from './storage-errors.js';

/** Writes of one commit: with more, the first would wait too long for its answer. */
const WRITES_MAX = 256;

interface Write {
  readonly run: () => object;
  readonly resolve: (answer: never) => void;
  readonly reject: (error: unknown) => void;
  outcome?: { answer: object } | { error: unknown };
}

export class WriteGroup {
  private readonly db: Connection;
  private waiting: Write[] = [];

  constructor(db: Connection) {
    this.db = db;
  }

  /** @returns the write's answer and the commit's seconds, once the commit is on disk. */
  add<T extends object>(run: () => T): Promise<T & { commitSeconds: number }> {
    return new Promise((resolve, reject) => {
      // All calls that are in the port by now are handled before the next setImmediate: they gather here.
      if (this.waiting.length === 0) setImmediate(() => this.commit());
      this.waiting.push({ run, resolve: resolve as (answer: never) => void, reject });
    });
  }

  private commit(): void {
    const writes = this.waiting.splice(0, WRITES_MAX);
    if (this.waiting.length > 0) setImmediate(() => this.commit());
    const started = performance.now();
    try {
      this.db.transaction(() => {
        for (const write of writes) write.outcome = this.outcomeOf(write);
      })();
    } catch (error) {
      for (const write of writes) write.reject(storageError(error));
      return;
    }
    const commitSeconds = (performance.now() - started) / 1000;
    for (const { outcome, resolve, reject } of writes) {
      if (outcome && 'answer' in outcome) resolve({ ...outcome.answer, commitSeconds } as never);
      else reject(storageError(outcome?.error));
    }
  }

  /** A failure that ended the whole transaction (a full disk) is no longer this write's alone. */
  private outcomeOf(write: Write): NonNullable<Write['outcome']> {
    try {
      return { answer: write.run() };
    } catch (error) {
      if (!this.db.inTransaction) throw error;
      return { error };
    }
  }
}
