/**
 * One request on its way: gathers the answers of its inputs, whether they come from the cache, from a task that another
 * request started, or from its own. Ends when all are there, when the first fails, or when the client leaves.
 */
import { AnchorageError } from '../errors.js';
import type { EmbedTask, TaskListener } from './embed-task.js';
import type { CachedEmbedding } from './embedding-cache.js';
import type { EmbedUsage } from './embedding-types.js';
import type { RequestStages } from './request-stages.js';

/** Takes the values of one input; they are not the receiver's to keep. `task` is undefined where they were cached. */
export type Place = (index: number, values: Float32Array, task: EmbedTask | undefined) => void;

export interface RequestOptions {
  readonly count: number;
  /** What errors call the list of inputs. */
  readonly field: string;
  readonly firstIndex: number;
  readonly place: Place;
  readonly signal: AbortSignal | undefined;
  /** Absent: nothing is traced. */
  readonly stages?: RequestStages | undefined;
  /** The request ended early: the task may have lost its last listener. */
  onLeave(task: EmbedTask): void;
}

export class EmbedRequest {
  /** Resolves when every input is placed. */
  readonly finished: Promise<EmbedUsage>;
  readonly #options: RequestOptions;
  readonly #tokenCounts: Int32Array;
  readonly #waiting = new Map<TaskListener, EmbedTask>();
  #settle!: { resolve: (usage: EmbedUsage) => void; reject: (error: Error) => void };
  #left: number;
  #over = false;
  #characters = 0;
  #truncated = 0;
  #tokenizationMs = 0;
  #queueMs = 0;
  #inferenceMs = 0;

  constructor(options: RequestOptions) {
    this.#options = options;
    this.#left = options.count;
    this.#tokenCounts = new Int32Array(options.count);
    this.finished = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // It may fail while inputs are still being handed in, before anybody awaits it.
    this.finished.catch(() => undefined);
    const { signal } = options;
    if (signal?.aborted) this.#leave();
    else signal?.addEventListener('abort', this.#leave, { once: true });
  }

  /** True when the request has its answer or its error: no more work is to be started for it. */
  get over(): boolean {
    return this.#over;
  }

  countCharacters(characters: number): void {
    this.#characters += characters;
  }

  /** Waits for a task's answer to input `index`. */
  await(task: EmbedTask, index: number): void {
    const listener: TaskListener = {
      done: (_task, values) => {
        this.#waiting.delete(listener);
        this.#tokenizationMs += task.tokenizeMs;
        this.#queueMs = Math.max(this.#queueMs, task.queueMs);
        this.#inferenceMs += task.inferenceMs;
        this.#options.stages?.textDone(task);
        const { tokens, truncated } = task;
        this.answered(index, { vector: values, tokens, truncated }, task);
      },
      failed: (failure) => {
        this.#waiting.delete(listener);
        this.fail(failure(`${this.#options.field}[${this.#options.firstIndex + index}]`));
      },
    };
    this.#waiting.set(listener, task);
    task.join(listener);
  }

  /** `task` is undefined where the answer was cached. */
  answered(index: number, { vector, tokens, truncated }: CachedEmbedding, task?: EmbedTask): void {
    this.#tokenCounts[index] = tokens;
    this.#truncated += truncated ? 1 : 0;
    try {
      this.#options.place(index, vector, task);
    } catch (error) {
      this.fail(error as Error);
      return;
    }
    this.#left--;
    if (this.#left === 0) this.#end(() => this.#settle.resolve(this.#usage()));
  }

  fail(error: Error): void {
    this.#end(() => this.#settle.reject(error));
  }

  readonly #leave = (): void => {
    this.fail(new AnchorageError('CLIENT_CLOSED', 'the client closed the connection before the answer was ready'));
  };

  #end(settle: () => void): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.signal?.removeEventListener('abort', this.#leave);
    for (const [listener, task] of this.#waiting) {
      task.leave(listener);
      this.#options.onLeave(task);
    }
    this.#waiting.clear();
    this.#options.stages?.end();
    settle();
  }

  #usage(): EmbedUsage {
    return {
      tokenCounts: this.#tokenCounts,
      tokens: this.#tokenCounts.reduce((sum, tokens) => sum + tokens, 0),
      characters: this.#characters,
      truncated: this.#truncated,
      timings: {
        tokenizationMs: this.#tokenizationMs,
        queueMs: this.#queueMs,
        inferenceMs: this.#inferenceMs,
      },
    };
  }
}
