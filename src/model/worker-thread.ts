/**
 * The main thread's end of one worker thread: requests out, replies in, matched by number. A thread that dies, for
 * whatever reason, rejects everything that was asked of it with WorkerDied, and does not come back: whoever started it
 * starts another.
 */
import { type Transferable, Worker } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import { workerUrl } from '../worker-url.js';
import { type Answer, type Envelope, type Fault, STOP, type Started } from './worker-messages.js';

export class WorkerDied extends Error {
  constructor(file: string, cause: unknown) {
    super(`the ${file} thread died`, { cause });
    this.name = 'WorkerDied';
  }
}

export class WorkerThread<Request, Reply, Info> {
  readonly info: Info;
  /** Resolves when the thread is gone. */
  readonly died: Promise<void>;
  readonly #worker: Worker;
  readonly #pending = new Map<number, { resolve: (reply: Reply) => void; reject: (error: Error) => void }>();
  #lastId = 0;
  #dead = false;

  /** Starts dist/model/<file>.js with `data` as its workerData; resolves when the thread says that it is ready. */
  static start<Request, Reply, Info>(file: string, data: unknown): Promise<WorkerThread<Request, Reply, Info>> {
    const worker = new Worker(workerUrl(`model/${file}.js`), { workerData: data, name: file });
    return new Promise((resolve, reject) => {
      const failed = (cause: unknown) => reject(cause instanceof Error ? cause : new WorkerDied(file, cause));
      worker.once('error', failed);
      worker.once('exit', failed);
      worker.once('message', (first: Started<Info>) => {
        worker.off('error', failed);
        worker.off('exit', failed);
        if ('info' in first) resolve(new WorkerThread(file, worker, first.info));
        else {
          worker.once('exit', () => reject(errorOf(first.fault)));
        }
      });
    });
  }

  private constructor(file: string, worker: Worker, info: Info) {
    this.info = info;
    this.#worker = worker;
    let cause: unknown;
    worker.on('message', (answer: Answer<Reply>) => this.#settle(answer));
    worker.on('error', (error) => {
      cause = error;
    });
    this.died = new Promise((resolve) => {
      worker.on('exit', () => {
        this.#die(new WorkerDied(file, cause));
        resolve();
      });
    });
  }

  /** True from the moment that the thread's end is known. */
  get dead(): boolean {
    return this.#dead;
  }

  /** Rejects with the worker's own error, or with WorkerDied. */
  call(request: Request, transfer: readonly Transferable[] = []): Promise<Reply> {
    if (this.#dead) return Promise.reject(new WorkerDied('worker', undefined));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, request } satisfies Envelope<Request>, transfer);
    });
  }

  /**
   * Lets the thread finish what it is at and end by itself. It must not be terminated from outside: ONNX Runtime's
   * binding takes the whole process down when its thread is cut off inside a forward pass.
   */
  async stop(): Promise<void> {
    if (!this.#dead) this.#worker.postMessage(STOP);
    await this.died;
  }

  #settle(answer: Answer<Reply>): void {
    const call = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    if ('reply' in answer) call?.resolve(answer.reply);
    else call?.reject(errorOf(answer.fault));
  }

  #die(error: WorkerDied): void {
    this.#dead = true;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}

function errorOf({ message, code, field }: Fault): Error {
  if (!code) return new Error(message);
  return new AnchorageError(code, message, field === undefined ? {} : { field });
}
