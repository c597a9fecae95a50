/**
 * One text on its way through the model: waits to be tokenized, waits for a worker, is answered. Several requests may
 * wait for the same task; it is dropped when all of them have left.
 */
import type { Queued } from './batcher.js';
import type { Lane } from './embedding-types.js';
import type { LengthPolicy } from './input.js';
import type { Work } from './worker-messages.js';

/** Why a task failed, worded for the request that asks: `field` is what it calls its input. */
export type Failure = (field: string) => Error;

export interface TaskListener {
  /** `values` belongs to the task: copy what is to be kept. */
  done(task: EmbedTask, values: Float32Array): void;
  failed(failure: Failure): void;
}

export interface TaskSource {
  readonly work: Work;
  readonly lane: Lane;
  readonly policy: LengthPolicy;
  /** The text with its prompt in front; undefined where token ids came. */
  readonly text?: string;
  readonly ids?: Int32Array;
  readonly truncated?: boolean;
  /** Told once, when the task is over: with its values where it succeeded. Before the listeners hear of it. */
  onSettled(task: EmbedTask, values?: Float32Array): void;
}

export class EmbedTask implements Queued {
  readonly work: Work;
  readonly policy: LengthPolicy;
  readonly text: string | undefined;
  readonly group: string;
  /** Rises from bulk to query when a query joins. */
  lane: Lane;
  ids: Int32Array;
  truncated: boolean;
  /** Where each token stands in `text`; only for the work `anchors`. */
  spans: { readonly starts: Int32Array; readonly stops: Int32Array } | undefined;
  /** When it began to wait for a worker. */
  queuedAt = 0;
  tokenizeMs = 0;
  queueMs = 0;
  inferenceMs = 0;
  /** Of the batch that it was in. */
  poolMs = 0;
  #listeners: readonly TaskListener[] = [];
  readonly #onSettled: TaskSource['onSettled'];

  constructor({ work, lane, policy, text, ids, truncated, onSettled }: TaskSource) {
    this.#onSettled = onSettled;
    this.work = work;
    this.lane = lane;
    this.policy = policy;
    this.text = text;
    this.ids = ids ?? new Int32Array(0);
    this.truncated = truncated ?? false;
    this.group = groupOf(work);
  }

  get tokens(): number {
    return this.ids.length;
  }

  get abandoned(): boolean {
    return this.#listeners.length === 0;
  }

  join(listener: TaskListener): void {
    this.#listeners = [...this.#listeners, listener];
  }

  leave(listener: TaskListener): void {
    this.#listeners = this.#listeners.filter((other) => other !== listener);
  }

  /** Ends a task that nobody waits for. */
  drop(): void {
    this.#onSettled(this);
  }

  succeed(values: Float32Array): void {
    this.#onSettled(this, values);
    for (const listener of this.#listeners) listener.done(this, values);
  }

  fail(failure: Failure): void {
    this.#onSettled(this);
    for (const listener of this.#listeners) listener.failed(failure);
  }
}

function groupOf(work: Work): string {
  if (work.kind === 'tokens') return 'tokens';
  if (work.kind === 'anchors') return `anchors:${work.gamma}`;
  return `vectors:${work.pooling.mode}:${work.pooling.gamma}:${work.layers ?? 'all'}`;
}
