/**
 * Feedback while serving: searches get an id, people say what they found, and both are kept for as long as the settings
 * allow. Searches are written down a moment later and many at a time: none waits for a disk.
 */
import { randomUUID } from 'node:crypto';
import { AnchorageError } from '../errors.js';
import type { AskedQuery, JudgedQuery, Label } from './feedback-tables.js';
import type { JobStore } from './job-store.js';

const WRITE_EVERY_MS = 200;
/** Searches that wait to be written; beyond it they get no id. */
const WAITING_MAX = 10_000;
const FORGET_EVERY_MS = 3_600_000;
const DAY_MS = 86_400_000;

export interface FeedbackOptions {
  readonly store: JobStore;
  readonly days: number;
  readonly warn: (error: Error) => void;
}

export class Feedback {
  private readonly options: FeedbackOptions;
  private waiting: AskedQuery[] = [];
  private writing: Promise<void> = Promise.resolve();
  private readonly timers: NodeJS.Timeout[];

  constructor(options: FeedbackOptions) {
    this.options = options;
    const often = setInterval(() => this.flush(), WRITE_EVERY_MS);
    const seldom = setInterval(() => this.forgetOld(), FORGET_EVERY_MS);
    this.timers = [often.unref(), seldom.unref()];
    this.forgetOld();
  }

  /** @returns the id by which people speak of this search; undefined where too many wait to be written. */
  asked(collection: string, text: string): string | undefined {
    if (this.waiting.length >= WAITING_MAX) return undefined;
    const id = randomUUID();
    this.waiting.push({ id, collection, text });
    return id;
  }

  /** @throws AnchorageError NOT_FOUND where no such search is known (any more). */
  async query(id: string): Promise<AskedQuery> {
    const found = this.waiting.find((one) => one.id === id) ?? (await this.options.store.call('feedbackQuery', { id }));
    if (found) return found;
    throw new AnchorageError('NOT_FOUND', `queryId: no search ${id} is known, or not any more`, { field: 'queryId' });
  }

  /** Durable when it resolves. */
  async add(label: Label): Promise<void> {
    this.flush();
    await this.writing;
    await this.options.store.call('addLabel', { label, nowMs: Date.now() });
  }

  async judged(collection: string): Promise<JudgedQuery[]> {
    this.flush();
    await this.writing;
    return this.options.store.call('judged', { collection });
  }

  async counts(): Promise<{ queries: number; labels: number; oldestMs: number | null }> {
    this.flush();
    await this.writing;
    return this.options.store.call('feedbackCounts', {});
  }

  /** Forgets everything. @returns how many searches went. */
  async clear(): Promise<number> {
    this.flush();
    await this.writing;
    return this.options.store.call('forget', { beforeMs: Number.MAX_SAFE_INTEGER });
  }

  async close(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    this.flush();
    await this.writing;
  }

  private flush(): void {
    const queries = this.waiting;
    if (queries.length === 0) return;
    this.waiting = [];
    this.writing = this.writing
      .then(() => this.options.store.call('addQueries', { queries, nowMs: Date.now() }))
      .catch(this.options.warn);
  }

  private forgetOld(): void {
    const beforeMs = Date.now() - this.options.days * DAY_MS;
    void this.options.store.call('forget', { beforeMs }).catch(this.options.warn);
  }
}
