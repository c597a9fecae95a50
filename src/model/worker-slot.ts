/**
 * A place for one worker thread that is filled again when its thread dies. A thread that dies while it starts is started
 * again after a pause that doubles, so that a broken machine is not kept busy with failing.
 */
import type { Transferable } from 'node:worker_threads';
import { WorkerDied, WorkerThread } from './worker-thread.js';

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;

export interface SlotOwner {
  /** A thread took the place of a dead one. */
  restarted(): void;
  /** A replacement could not be started; it is tried again. */
  restartFailed(error: Error): void;
}

export class WorkerSlot<Request, Reply, Info> {
  readonly info: Info;
  readonly #file: string;
  readonly #data: unknown;
  #owner: SlotOwner | undefined;
  #thread: WorkerThread<Request, Reply, Info>;
  #waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];
  #closed = false;
  #pause: NodeJS.Timeout | undefined;

  /**
   * Starts the first thread: dist/model/<file>.js with `data` as its workerData. Rejects where that fails.
   */
  static async open<Request, Reply, Info>(file: string, data: unknown): Promise<WorkerSlot<Request, Reply, Info>> {
    return new WorkerSlot(file, data, await WorkerThread.start<Request, Reply, Info>(file, data));
  }

  private constructor(file: string, data: unknown, thread: WorkerThread<Request, Reply, Info>) {
    this.#file = file;
    this.#data = data;
    this.info = thread.info;
    this.#thread = thread;
    this.#watch();
  }

  /** Whether a call can be answered now. */
  get up(): boolean {
    return !this.#closed && !this.#thread.dead;
  }

  /** Who is told of restarts. */
  ownedBy(owner: SlotOwner): void {
    this.#owner = owner;
  }

  call(request: Request, transfer?: readonly Transferable[]): Promise<Reply> {
    return this.#thread.call(request, transfer);
  }

  /** Resolves when a thread is there to be called; rejects where none could be started, with WorkerDied after close(). */
  whenUp(): Promise<void> {
    if (this.#closed) return Promise.reject(new WorkerDied(this.#file, 'closed'));
    return this.up ? Promise.resolve() : new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#pause);
    for (const { reject } of this.#waiting.splice(0)) reject(new WorkerDied(this.#file, 'closed'));
    await this.#thread.stop();
  }

  #watch(): void {
    this.#thread.died.then(() => {
      if (!this.#closed) this.#replace(FIRST_PAUSE_MS);
    });
  }

  async #replace(pauseMs: number): Promise<void> {
    try {
      const thread = await WorkerThread.start<Request, Reply, Info>(this.#file, this.#data);
      if (this.#closed) return await thread.stop();
      this.#thread = thread;
      this.#watch();
      this.#owner?.restarted();
      for (const { resolve } of this.#waiting.splice(0)) resolve();
    } catch (cause) {
      if (this.#closed) return;
      const error = cause instanceof Error ? cause : new WorkerDied(this.#file, cause);
      for (const { reject } of this.#waiting.splice(0)) reject(error);
      this.#owner?.restartFailed(error);
      this.#pause = setTimeout(() => this.#replace(Math.min(pauseMs * 2, LONGEST_PAUSE_MS)), pauseMs);
      this.#pause.unref();
    }
  }
}
