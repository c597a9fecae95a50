/**
 * Texts on their way through the tokenizer's thread. They go over in slices of a few milliseconds, queries first, so
 * that a request of thousands of texts neither blocks the main thread with one large copy nor lets a query wait. There
 * is no aging here: tokenization is a hundred times as fast as inference, so the queue is empty nearly always.
 */

import { AnchorageError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import type { Tracer } from '../trace.js';
import type { EmbedTask } from './embed-task.js';
import { nothingToEmbed, tooLong } from './input.js';
import type {
  CutReply,
  CutRequest,
  TokenizerInfo,
  TokenizerReply,
  TokenizerRequest,
  TokenizerWorkerData,
} from './worker-messages.js';
import { WorkerSlot } from './worker-slot.js';
import { WorkerDied } from './worker-thread.js';

/** About 2,000 tokens of prose: a millisecond of tokenization. */
const SLICE_CHARACTERS = 8_192;
const SLICE_TEXTS = 128;
/** A text that must not be cut is counted up to here, so that its refusal can name the number. */
const COUNTED_TOKENS_MAX = 65_536;

export interface TokenizationOptions {
  readonly folder: string;
  readonly metrics: Metrics;
  readonly tracer?: Tracer | undefined;
}

type Slot = WorkerSlot<TokenizerRequest, TokenizerReply, TokenizerInfo>;

export class TokenizationQueue {
  readonly info: TokenizerInfo;
  /** Where a task goes that has its ids. */
  onTokenized: (task: EmbedTask) => void = () => undefined;
  readonly #slot: Slot;
  readonly #metrics: Metrics;
  readonly #tracer: Tracer | undefined;
  readonly #lanes = { query: new Set<EmbedTask>(), bulk: new Set<EmbedTask>() };
  #busy = false;

  static async open({ folder, metrics, tracer }: TokenizationOptions): Promise<TokenizationQueue> {
    const data: TokenizerWorkerData = { folder };
    return new TokenizationQueue(await WorkerSlot.open('tokenizer-worker', data), metrics, tracer);
  }

  private constructor(slot: Slot, metrics: Metrics, tracer: Tracer | undefined) {
    this.info = slot.info;
    this.#slot = slot;
    this.#metrics = metrics;
    this.#tracer = tracer;
    slot.ownedBy({
      restarted: () => {
        metrics.workerRestarts.inc();
        this.#pump();
      },
      restartFailed: (error) => this.#failAll(error),
    });
  }

  get size(): number {
    return this.#lanes.query.size + this.#lanes.bulk.size;
  }

  get up(): boolean {
    return this.#slot.up;
  }

  push(task: EmbedTask): void {
    this.#lanes[task.lane].add(task);
    // After the caller's turn, so that the texts of one request share slices.
    queueMicrotask(() => this.#pump());
  }

  /** False where the task is not waiting here. */
  remove(task: EmbedTask): boolean {
    return this.#lanes[task.lane].delete(task);
  }

  /** What is not part of the embed path: showing tokens, decoding, spelling. UNHEALTHY where no thread lives to answer. */
  async ask(request: TokenizerRequest): Promise<TokenizerReply> {
    try {
      return await this.#retried(request);
    } catch (cause) {
      if (!(cause instanceof WorkerDied)) throw cause;
      throw new AnchorageError('UNHEALTHY', `the tokenizer cannot answer: ${cause.message}`, {
        cause,
        retryAfterSeconds: 1,
      });
    }
  }

  close(): Promise<void> {
    return this.#slot.close();
  }

  #pump(): void {
    if (this.#busy || !this.#slot.up) return;
    const lane = this.#lanes.query.size > 0 ? this.#lanes.query : this.#lanes.bulk;
    const slice = nextSlice(lane);
    if (slice.length > 0) this.#cut(slice);
  }

  async #cut(slice: readonly EmbedTask[]): Promise<void> {
    this.#busy = true;
    try {
      const reply = (await this.#retried(cutRequest(slice))) as CutReply;
      this.#metrics.stageDuration.observe({ stage: 'tokenize' }, reply.tokenizeMs / 1000);
      this.#trace(slice, reply);
      this.#deliver(slice, reply);
    } catch (error) {
      fail(slice, error as Error);
    } finally {
      this.#busy = false;
      this.#pump();
    }
  }

  #trace(slice: readonly EmbedTask[], { tokenizeMs, ids }: CutReply): void {
    if (!this.#tracer) return;
    const endMs = performance.now();
    const about = { lane: slice[0]!.lane, texts: slice.length, tokens: ids.length };
    this.#tracer.work('tokenizer', 'tokenize', { startMs: endMs - tokenizeMs, endMs }, about);
  }

  /** Once more where the thread died: with the same texts it dies again if it was them, and they fail. */
  async #retried(request: TokenizerRequest): Promise<TokenizerReply> {
    try {
      return await this.#slot.call(request);
    } catch (error) {
      if (!(error instanceof WorkerDied)) throw error;
      await this.#slot.whenUp();
      return this.#slot.call(request);
    }
  }

  #deliver(slice: readonly EmbedTask[], { ids, starts, stops, lengths, truncated, tokenizeMs }: CutReply): void {
    let at = 0;
    for (const [i, task] of slice.entries()) {
      const stop = at + lengths[i]!;
      task.ids = ids.subarray(at, stop);
      task.truncated = truncated[i] === 1;
      task.tokenizeMs = (tokenizeMs * lengths[i]!) / ids.length;
      if (starts.length > 0) task.spans = { starts: starts.subarray(at, stop), stops: stops.subarray(at, stop) };
      at = stop;
      this.#admit(task);
    }
  }

  #admit(task: EmbedTask): void {
    const { prefix, suffix } = this.info;
    const { truncate, maxTokens } = task.policy;
    if (task.abandoned) task.drop();
    else if (task.tokens === prefix.length + suffix.length) {
      task.fail((field) => nothingToEmbed(field, 'holds nothing that the tokenizer keeps'));
    } else if (!truncate && task.tokens > maxTokens) {
      const count = task.truncated ? undefined : task.tokens;
      task.fail((field) => tooLong(field, count, maxTokens));
    } else this.onTokenized(task);
  }

  #failAll(error: Error): void {
    for (const lane of [this.#lanes.query, this.#lanes.bulk]) {
      const tasks = [...lane];
      lane.clear();
      fail(tasks, error);
    }
  }
}

/** Tasks from the front of a lane that can be cut in one request. */
function nextSlice(lane: Set<EmbedTask>): EmbedTask[] {
  const slice: EmbedTask[] = [];
  let characters = 0;
  for (const task of lane) {
    const [first] = slice;
    characters += task.text!.length;
    const full = slice.length === SLICE_TEXTS || characters > SLICE_CHARACTERS;
    if (first && (full || !sameCut(first, task))) break;
    slice.push(task);
  }
  for (const task of slice) lane.delete(task);
  return slice;
}

function sameCut(a: EmbedTask, b: EmbedTask): boolean {
  const same = a.policy.direction === b.policy.direction && a.policy.truncate === b.policy.truncate;
  return same && (a.work.kind === 'anchors') === (b.work.kind === 'anchors');
}

function cutRequest(slice: readonly EmbedTask[]): CutRequest {
  const { policy, work } = slice[0]!;
  return {
    kind: 'cut',
    texts: slice.map((task) => task.text!),
    maxTokens: policy.truncate ? policy.maxTokens : Math.max(policy.maxTokens, COUNTED_TOKENS_MAX),
    direction: policy.direction,
    withSpans: work.kind === 'anchors',
  };
}

function fail(tasks: readonly EmbedTask[], cause: Error): void {
  for (const task of tasks) {
    task.fail((field) => {
      const message = `${field} could not be tokenized: ${cause.message}`;
      return new AnchorageError('INFERENCE_FAILED', message, { field, cause });
    });
  }
}
