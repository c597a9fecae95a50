/**
 * The way of a text through the model: cache, or joined to the same text in flight, or tokenizer -> batcher -> worker.
 *
 * Always true: a key is in flight at most once; every accepted task is settled once, by an answer, an error, or by all
 * who waited for it having left; a lane never holds more than `queueTextsMax` texts, unsettled ones and those for which a
 * request has taken room and which it is still handing in.
 */
import { AnchorageError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import type { Tracer } from '../trace.js';
import type { EmbedRequest } from './embed-request.js';
import { EmbedTask } from './embed-task.js';
import { cacheKey, EmbeddingCache } from './embedding-cache.js';
import type { Lane } from './embedding-types.js';
import type { EncoderOptions } from './encoder.js';
import type { LengthPolicy } from './input.js';
import { TokenizationQueue } from './tokenization-queue.js';
import type { InferenceInfo, TokenizerInfo, TokenizerReply, TokenizerRequest, Work } from './worker-messages.js';
import { WorkerPool } from './worker-pool.js';

export interface EmbedPathOptions {
  readonly workers: number;
  readonly batchTokensMax: number;
  readonly queueTextsMax: number;
  readonly cacheBytesMax: number;
  readonly data: EncoderOptions;
  readonly metrics: Metrics;
  readonly tracer?: Tracer | undefined;
}

/** One input of a request. */
export interface Submission {
  readonly request: EmbedRequest;
  readonly index: number;
  /** Text with its prompt in front, or token ids that fit the model. */
  readonly input: string | Int32Array;
  /** Whether the token ids were cut already. */
  readonly truncated: boolean;
  readonly work: Work;
  readonly lane: Lane;
  readonly policy: LengthPolicy;
  /** Neither answered from the cache nor joined: a probe has to reach the model. */
  readonly fresh: boolean;
}

const RETRY_AFTER_SECONDS_MAX = 60;

export class EmbedPath {
  readonly #pool: WorkerPool;
  readonly #tokenization: TokenizationQueue;
  readonly #cache: EmbeddingCache;
  readonly #metrics: Metrics;
  readonly #queueTextsMax: number;
  readonly #inFlight = new Map<string, EmbedTask>();
  readonly #unsettled = { query: 0, bulk: 0 };
  /** Texts that have room and are still to be submitted: a long request hands its own in over many turns. */
  readonly #promised = { query: 0, bulk: 0 };
  /** Calls of `answering` that run. */
  #answering = 0;
  #drained: (() => void)[] = [];

  /** Starts all threads side by side; leaves none behind where one fails. */
  static async open(options: EmbedPathOptions): Promise<EmbedPath> {
    const { data, metrics, tracer } = options;
    const [pool, tokenization] = await Promise.allSettled([
      WorkerPool.open(options),
      TokenizationQueue.open({ folder: data.folder, metrics, tracer }),
    ]);
    if (pool.status === 'fulfilled' && tokenization.status === 'fulfilled') {
      return new EmbedPath(pool.value, tokenization.value, options);
    }
    if (pool.status === 'fulfilled') await pool.value.close();
    if (tokenization.status === 'fulfilled') await tokenization.value.close();
    throw pool.status === 'rejected' ? pool.reason : (tokenization as PromiseRejectedResult).reason;
  }

  private constructor(pool: WorkerPool, tokenization: TokenizationQueue, options: EmbedPathOptions) {
    this.#pool = pool;
    this.#tokenization = tokenization;
    this.#metrics = options.metrics;
    this.#queueTextsMax = options.queueTextsMax;
    this.#cache = new EmbeddingCache(options.cacheBytesMax, options.metrics.cacheBytes);
    tokenization.onTokenized = (task) => pool.push(task);
  }

  get inferenceInfo(): InferenceInfo {
    return this.#pool.info;
  }

  get tokenizerInfo(): TokenizerInfo {
    return this.#tokenization.info;
  }

  /** Why texts cannot be embedded now; undefined where they can. */
  get problem(): string | undefined {
    return this.#tokenization.up ? this.#pool.problem : 'the tokenizer thread is not running';
  }

  /** When a forward pass last succeeded, by performance.now(). */
  get succeededAt(): number {
    return this.#pool.succeededAt;
  }

  get queuedTexts(): number {
    return this.#tokenization.size + this.#pool.size('query') + this.#pool.size('bulk');
  }

  /** Whether nothing that was let in is left to be answered. */
  get idle(): boolean {
    return this.#held('query') + this.#held('bulk') + this.#answering === 0;
  }

  /**
   * Keeps room for so many texts, each until it is submitted or given up; refuses them where the lane would hold too many.
   * Bulk work cannot shut queries out.
   */
  takeRoom(lane: Lane, texts: number): void {
    const held = this.#held(lane);
    if (held + texts > this.#queueTextsMax) throw this.#overloaded(held, texts);
    this.#promised[lane] += texts;
  }

  /** Gives up room for texts that will not be submitted. */
  leaveRoom(lane: Lane, texts: number): void {
    this.#promised[lane] -= texts;
    this.#tellWhenIdle();
  }

  /** Sees to it that the request gets the answer to one of its inputs, for which it has taken room. */
  submit(submission: Submission): void {
    const { request, index, input, work, lane, policy, fresh } = submission;
    this.#promised[lane]--;
    const key = work.kind === 'vectors' && !fresh ? cacheKey(input, work, policy) : undefined;
    if (key !== undefined && this.#answeredBefore(key, submission)) return;
    const task = this.#newTask(submission, key);
    if (key !== undefined) this.#inFlight.set(key, task);
    this.#unsettled[lane]++;
    request.await(task, index);
    if (typeof input === 'string') this.#tokenization.push(task);
    else this.#pool.push(task);
  }

  /** A request left a task; without any listener it is not worth doing, unless a worker has it already. */
  left(task: EmbedTask): void {
    if (task.abandoned && (this.#tokenization.remove(task) || this.#pool.remove(task))) task.drop();
  }

  /** Asks the tokenizer for what is not part of the embed path. */
  ask(request: TokenizerRequest): Promise<TokenizerReply> {
    return this.#tokenization.ask(request);
  }

  /** Runs what asks the tokenizer, once or many times: `drain` waits for the whole of it. */
  async answering<T>(work: () => Promise<T>): Promise<T> {
    this.#answering++;
    try {
      return await work();
    } finally {
      this.#answering--;
      this.#tellWhenIdle();
    }
  }

  /** Resolves when nothing is left to be answered. */
  drain(): Promise<void> {
    if (this.idle) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  async close(): Promise<void> {
    this.#cache.clear();
    await Promise.all([this.#pool.close(), this.#tokenization.close()]);
  }

  #held(lane: Lane): number {
    return this.#unsettled[lane] + this.#promised[lane];
  }

  #overloaded(held: number, texts: number): AnchorageError {
    this.#metrics.rejected.inc({ reason: 'queue_full' });
    const seconds = Math.ceil(this.#pool.secondsFor(held + texts - this.#queueTextsMax));
    const retryAfterSeconds = Math.min(RETRY_AFTER_SECONDS_MAX, Math.max(1, seconds));
    const message = `${held} texts wait already and ${texts} more would pass the bound of ${this.#queueTextsMax}`;
    return new AnchorageError('OVERLOADED', `${message}: try again in ${retryAfterSeconds} s`, { retryAfterSeconds });
  }

  #answeredBefore(key: string, { request, index, lane }: Submission): boolean {
    const cached = this.#cache.get(key);
    const running = this.#inFlight.get(key);
    if (cached) request.answered(index, cached);
    else if (running) {
      if (lane === 'query') this.#promote(running);
      request.await(running, index);
    }
    const answered = cached !== undefined || running !== undefined;
    (answered ? this.#metrics.cacheHits : this.#metrics.cacheMisses).inc();
    return answered;
  }

  /** A query waits for what was bulk work. */
  #promote(task: EmbedTask): void {
    const waitsIn = [this.#tokenization, this.#pool].find((queue) => queue.remove(task));
    task.lane = 'query';
    waitsIn?.push(task);
  }

  #newTask({ input, truncated, work, lane, policy }: Submission, key: string | undefined): EmbedTask {
    return new EmbedTask({
      work,
      lane,
      policy,
      ...(typeof input === 'string' ? { text: input } : { ids: input, truncated }),
      onSettled: (task, vector) => {
        if (key !== undefined) {
          this.#inFlight.delete(key);
          if (vector) this.#cache.set(key, { vector, tokens: task.tokens, truncated: task.truncated });
        }
        this.#unsettled[lane]--;
        this.#tellWhenIdle();
      },
    });
  }

  #tellWhenIdle(): void {
    if (this.idle) for (const resolve of this.#drained.splice(0)) resolve();
  }
}
