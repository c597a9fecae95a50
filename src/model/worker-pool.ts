/**
 * The inference threads and what they do next. An idle worker takes the best batch that the queue has now; nothing waits
 * for a batch to fill up.
 *
 * Where the engine shares its weights among threads, there is one more, for queries that come while all others compute bulk
 * batches: it runs at once, at a higher priority than they have, and costs no copy of the weights.
 *
 * What fails, fails alone: a batch that the model cannot compute is halved until the text at fault is by itself. A
 * worker that dies is replaced, and its batch is run once more; if it dies again, the batch is halved likewise.
 */
import { AnchorageError } from '../errors.js';
import { LANES, type Metrics } from '../metrics.js';
import type { Tracer } from '../trace.js';
import { BatchQueue } from './batcher.js';
import type { EmbedTask } from './embed-task.js';
import type { Lane } from './embedding-types.js';
import type { EncoderOptions } from './encoder.js';
import type { InferenceInfo, InferenceReply, InferenceRequest, InferenceWorkerData } from './worker-messages.js';
import { WorkerSlot } from './worker-slot.js';
import { WorkerDied } from './worker-thread.js';

export interface PoolOptions {
  readonly workers: number;
  readonly batchTokensMax: number;
  readonly data: EncoderOptions;
  readonly metrics: Metrics;
  readonly tracer?: Tracer | undefined;
}

type Slot = WorkerSlot<InferenceRequest, InferenceReply, InferenceInfo>;

interface Seat {
  readonly slot: Slot;
  readonly queriesOnly: boolean;
  busy: boolean;
}

interface Batch {
  readonly tasks: readonly EmbedTask[];
  /** Whether a worker died of it already. */
  readonly rerun: boolean;
}

/** One text may be at fault for one failure, and for those of the batches that it is singled out from. */
const FAILURES_IN_A_ROW = 16;
/** Weight of the newest batch in the running mean of the time a text takes. */
const NEWEST_SHARE = 0.1;

export class WorkerPool {
  readonly info: InferenceInfo;
  /** Those that take any batch, and then the one for queries, where there is one. */
  readonly #seats: readonly Seat[];
  readonly #queue: BatchQueue<EmbedTask>;
  readonly #metrics: Metrics;
  readonly #tracer: Tracer | undefined;
  /** Batches that failed and go first. */
  readonly #again: Batch[] = [];
  /** What the gauge of queued texts holds of this pool. */
  readonly #shown = { query: 0, bulk: 0 };
  #workerMsPerText = 0;
  #succeededAt = performance.now();
  #failuresInARow = 0;
  #lastFailure = '';

  /** Starts all threads side by side; rejects, with none left running, where one cannot be started. */
  static async open(options: PoolOptions): Promise<WorkerPool> {
    const slots = await openSlots(options.workers, { ...options.data, givesWay: true });
    if (slots[0]!.info.engine === 'onnxruntime') return new WorkerPool(slots, [], options);
    try {
      return new WorkerPool(slots, await openSlots(1, { ...options.data, givesWay: false }), options);
    } catch (error) {
      await Promise.all(slots.map((slot) => slot.close()));
      throw error;
    }
  }

  private constructor(
    general: readonly Slot[],
    forQueries: readonly Slot[],
    { batchTokensMax, metrics, tracer }: PoolOptions,
  ) {
    const slots = [...general, ...forQueries];
    this.info = slots[0]!.info;
    this.#seats = slots.map((slot) => ({ slot, queriesOnly: forQueries.includes(slot), busy: false }));
    this.#queue = new BatchQueue({ batchTokensMax });
    this.#metrics = metrics;
    this.#tracer = tracer;
    for (const slot of slots) {
      slot.ownedBy({
        restarted: () => {
          metrics.workerRestarts.inc();
          this.#pump();
        },
        restartFailed: (error) => this.#restartFailed(error),
      });
    }
  }

  /** Why texts cannot be computed now; undefined where they can. */
  get problem(): string | undefined {
    if (!this.#generalUp) return 'no inference thread is running';
    if (this.#failuresInARow < FAILURES_IN_A_ROW) return undefined;
    return `the last ${this.#failuresInARow} forward passes failed: ${this.#lastFailure}`;
  }

  /** Whether bulk work can be computed. */
  get #generalUp(): boolean {
    return this.#seats.some(({ slot, queriesOnly }) => slot.up && !queriesOnly);
  }

  /** When a forward pass last succeeded, by performance.now(); every thread began with one. */
  get succeededAt(): number {
    return this.#succeededAt;
  }

  size(lane: Lane): number {
    return this.#queue.size(lane);
  }

  /** Seconds until so many texts would be done, at the rate measured lately. */
  secondsFor(texts: number): number {
    const workers = this.#seats.filter(({ queriesOnly }) => !queriesOnly).length;
    return (texts * this.#workerMsPerText) / workers / 1000;
  }

  push(task: EmbedTask): void {
    const now = performance.now();
    task.queuedAt ||= now;
    this.#queue.push(task, now);
    // After the caller's turn, so that texts that come together can share a batch.
    queueMicrotask(this.#pump);
  }

  /** False where the task does not wait here (any more). */
  remove(task: EmbedTask): boolean {
    if (!this.#queue.remove(task)) return false;
    this.#showDepth();
    return true;
  }

  async close(): Promise<void> {
    await Promise.all(this.#seats.map(({ slot }) => slot.close()));
  }

  /** Gives every idle worker something to do. */
  readonly #pump = (): void => {
    for (;;) {
      const idle = this.#seats.filter(({ slot, busy }) => slot.up && !busy);
      const [seat] = idle;
      if (!seat) break;
      const general = idle.filter(({ queriesOnly }) => !queriesOnly).length;
      const batch = seat.queriesOnly ? this.#nextQueries() : this.#next(general);
      if (!batch) break;
      this.#run(seat, batch);
    }
    this.#showDepth();
  };

  /** By what changed, because a version that is being drained shares the gauge with the one that took over. */
  #showDepth(): void {
    for (const lane of LANES) {
      const change = this.#queue.size(lane) - this.#shown[lane];
      if (change !== 0) this.#metrics.queueDepth.inc({ lane }, change);
      this.#shown[lane] += change;
    }
  }

  #next(idleWorkers: number): Batch | undefined {
    const again = this.#again.shift();
    if (again) return again;
    const now = performance.now();
    return this.#taken(this.#queue.take(now, idleWorkers), now);
  }

  #nextQueries(): Batch | undefined {
    const now = performance.now();
    return this.#taken(this.#queue.takeQueries(now), now);
  }

  #taken(tasks: readonly EmbedTask[], now: number): Batch | undefined {
    for (const task of tasks) {
      task.queueMs = now - task.queuedAt;
      this.#metrics.stageDuration.observe({ stage: 'queue' }, task.queueMs / 1000);
    }
    return tasks.length > 0 ? { tasks, rerun: false } : undefined;
  }

  async #run(seat: Seat, batch: Batch): Promise<void> {
    seat.busy = true;
    try {
      const request = requestOf(batch.tasks);
      const reply = await seat.slot.call(request, [request.ids.buffer as ArrayBuffer]);
      if (this.#tracer) this.#trace(this.#seats.indexOf(seat), batch.tasks, reply);
      this.#deliver(batch.tasks, reply);
    } catch (error) {
      this.#recover(batch, error as Error);
    } finally {
      seat.busy = false;
      this.#pump();
    }
  }

  #deliver(tasks: readonly EmbedTask[], reply: InferenceReply): void {
    this.#succeededAt = performance.now();
    this.#failuresInARow = 0;
    this.#observe(tasks, reply);
    const tokens = tokensOf(tasks);
    const perTask = tasks[0]!.work.kind === 'vectors' ? reply.values.length / tasks.length : undefined;
    const perToken = reply.values.length / tokens;
    let at = 0;
    for (const [i, task] of tasks.entries()) {
      const stop = at + (perTask ?? task.tokens * perToken);
      task.inferenceMs = (reply.inferenceMs * task.tokens) / tokens;
      task.poolMs = reply.poolMs;
      if (reply.broken.includes(i)) task.fail(notFinite);
      else task.succeed(reply.values.subarray(at, stop));
      at = stop;
    }
  }

  #trace(worker: number, tasks: readonly EmbedTask[], { inferenceMs, poolMs, paddingTokens }: InferenceReply): void {
    const endMs = performance.now();
    const poolAt = endMs - poolMs;
    const tokens = tokensOf(tasks) + paddingTokens;
    const about = { lane: tasks[0]!.lane, texts: tasks.length, tokens };
    this.#tracer!.work(`worker ${worker}`, 'inference', { startMs: poolAt - inferenceMs, endMs: poolAt }, about);
    this.#tracer!.work(`worker ${worker}`, 'pool', { startMs: poolAt, endMs }, about);
  }

  #observe(tasks: readonly EmbedTask[], reply: InferenceReply): void {
    const { inferenceMs, poolMs, entropyRatios, paddingTokens } = reply;
    const metrics = this.#metrics;
    const tokens = tokensOf(tasks);
    const { lane } = tasks[0]!;
    metrics.embedTexts.inc({ lane }, tasks.length);
    metrics.embedTokens.inc({ lane }, tokens);
    metrics.paddingTokens.inc(paddingTokens);
    metrics.batchSize.observe(tasks.length);
    metrics.batchTokens.observe(tokens + paddingTokens);
    metrics.stageDuration.observe({ stage: 'inference' }, inferenceMs / 1000);
    metrics.stageDuration.observe({ stage: 'pool' }, poolMs / 1000);
    for (const ratio of entropyRatios) metrics.anchorEntropy.observe(ratio);
    const msPerText = (inferenceMs + poolMs) / tasks.length;
    this.#workerMsPerText += (this.#workerMsPerText === 0 ? 1 : NEWEST_SHARE) * (msPerText - this.#workerMsPerText);
  }

  #recover({ tasks, rerun }: Batch, error: Error): void {
    this.#failuresInARow++;
    this.#lastFailure = error.message;
    const waiting = tasks.filter((task) => !task.abandoned);
    for (const task of tasks) if (task.abandoned) task.drop();
    if (waiting.length === 0) return;
    if (error instanceof WorkerDied && !rerun) {
      this.#again.push({ tasks: waiting, rerun: true });
    } else if (waiting.length === 1) {
      waiting[0]!.fail((field) => inferenceFailed(field, error));
    } else {
      const middle = waiting.length >> 1;
      this.#again.push({ tasks: waiting.slice(0, middle), rerun }, { tasks: waiting.slice(middle), rerun });
    }
  }

  /** With no thread left, what waits would wait for nothing. */
  #restartFailed(error: Error): void {
    if (this.#generalUp) return;
    const failure = () => new AnchorageError('UNHEALTHY', `no inference thread can be started: ${error.message}`);
    for (let batch = this.#next(1); batch; batch = this.#next(1)) for (const task of batch.tasks) task.fail(failure);
  }
}

/** Starts threads side by side; rejects, with none left running, where one cannot be started. */
async function openSlots(count: number, data: InferenceWorkerData): Promise<Slot[]> {
  const starts = Array.from({ length: count }, () => WorkerSlot.open('inference-worker', data));
  const results = await Promise.allSettled(starts);
  const slots = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value as Slot] : []));
  const failed = results.find((result) => result.status === 'rejected');
  if (!failed) return slots;
  await Promise.all(slots.map((slot) => slot.close()));
  throw failed.reason;
}

const tokensOf = (tasks: readonly EmbedTask[]): number => tasks.reduce((sum, task) => sum + task.tokens, 0);

function requestOf(tasks: readonly EmbedTask[]): InferenceRequest {
  const ids = new Int32Array(tokensOf(tasks));
  let at = 0;
  for (const task of tasks) {
    ids.set(task.ids, at);
    at += task.tokens;
  }
  return { work: tasks[0]!.work, ids, lengths: Int32Array.from(tasks, (task) => task.tokens) };
}

function inferenceFailed(field: string, cause: Error): AnchorageError {
  const message = `${field} could not be embedded: ${cause.message}`;
  return new AnchorageError('INFERENCE_FAILED', message, { field, cause });
}

function notFinite(field: string): AnchorageError {
  return inferenceFailed(field, new Error('the model gave values that are not finite numbers'));
}
