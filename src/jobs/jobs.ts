/**
 * The queue and what runs of it. Always true: in each lane one job at a time, in the order in which they were asked for; a
 * job that was running when the server ended is started again (its steps are not done twice) or, after ATTEMPTS_MAX starts,
 * failed; the end of a job is on disk before anybody is told.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { AnchorageError } from '../errors.js';
import { modelId } from '../model/manifest.js';
import { checkParams, fillParams } from './check-params.js';
import { DeploymentTurn } from './deployment-turn.js';
import {
  isOver,
  type Job,
  type JobError,
  type JobEvent,
  JobFailure,
  type JobLane,
  type JobState,
  type JobType,
  type Json,
  LANES,
  laneOf,
} from './job.js';
import { JobContext } from './job-context.js';
import { JobLog } from './job-log.js';
import type { JobParts } from './job-parts.js';
import type { JobStore } from './job-store.js';
import { KINDS } from './kinds/kinds.js';
import { readLive } from './live-model.js';
import { endLeftover, type GroupIdentity } from './process-group.js';
import { Stopped } from './trainer-process.js';

const ATTEMPTS_MAX = 3;
const RETRY_WRITE_MS = 2000;
const CURVE_POINTS = 200;
/** A listener that hears nothing for so long is told that the line stands. */
const IDLE_MS = 15_000;

interface Running {
  readonly controller: AbortController;
  readonly finished: Promise<void>;
}

export class Jobs {
  private readonly store: JobStore;
  private readonly parts: JobParts;
  private readonly running = new Map<string, Running>();
  private readonly busy = new Set<JobLane>();
  private pumping: Promise<void> = Promise.resolve();
  private submitting: Promise<unknown> = Promise.resolve();
  private closing = false;
  private readonly closed = new AbortController();

  private constructor(parts: JobParts) {
    this.parts = parts;
    this.store = parts.store;
  }

  /** Opens the queue and goes on with what an earlier life of the server left. */
  static async open(given: Omit<JobParts, 'turn'>): Promise<Jobs> {
    const parts = { ...given, turn: new DeploymentTurn() };
    const jobs = new Jobs(parts);
    for (const { job, process } of await parts.store.call('inOrder', { state: 'running' }))
      await jobs.takeUp(job, process);
    await jobs.count();
    jobs.pump();
    return jobs;
  }

  /** Aborted when the server ends: what waits for events is to leave. */
  get ending(): AbortSignal {
    return this.closed.signal;
  }

  folderOf(id: string): string {
    return join(this.parts.config.dataDir, 'jobs', id);
  }

  /**
   * Takes a job into the queue.
   * @param params filled by check-params.ts.
   * @throws AnchorageError VALIDATION, CONFLICT, OVERLOADED.
   */
  submit(type: JobType, params: Json, idempotencyKey?: string): Promise<{ job: Job; isNew: boolean }> {
    // One after the other: what a check looks at must not change before the job is in the queue.
    const submitted = this.submitting.then(() => this.take(type, params, idempotencyKey));
    this.submitting = submitted.catch(() => undefined);
    return submitted;
  }

  private async take(type: JobType, params: Json, idempotencyKey?: string): Promise<{ job: Job; isNew: boolean }> {
    const { dataDir, jobQueueMax: queuedMax } = this.parts.config;
    const before = idempotencyKey && (await this.store.call('find', { idempotencyKey, type, params }));
    if (before) return { job: before, isNew: false };
    checkParams(type, params, dataDir);
    await KINDS[type].check?.(params as never, this.parts, this);
    const now = new Date();
    const id = `${now
      .toISOString()
      .replace(/[-:]|\..*$/g, '')
      .replace('T', '-')
      .toLowerCase()}-${randomBytes(3).toString('hex')}`;
    const made = await this.store.call('create', {
      id,
      type,
      params,
      createdAt: now.toISOString(),
      queuedMax,
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    });
    if (made.isNew) {
      await this.store.update(id, {}, [{ event: 'state', data: { state: 'queued' } }]);
      await this.count();
      this.pump();
    }
    return made;
  }

  /**
   * Queues the deployment of what was live before the last one.
   * @throws AnchorageError CONFLICT where nothing was kept to go back to, or another deployment runs.
   */
  async rollBack(): Promise<Job> {
    const { config, models } = this.parts;
    const live = await readLive(this.store, config.model);
    if (live?.previous === undefined) {
      throw new AnchorageError(
        'CONFLICT',
        `nothing was kept that ${modelId(models.live.manifest)} could be rolled back to`,
      );
    }
    const filled = fillParams('deploy', { model: live.previous, gate: 'always' });
    if ('faults' in filled) throw new Error(`the params of a rollback are refused: ${JSON.stringify(filled.faults)}`);
    return (await this.submit('deploy', filled.params)).job;
  }

  /** @throws AnchorageError CONFLICT */
  refuseWhileDeploying(): void {
    const { takenBy } = this.parts.turn;
    if (takenBy === undefined) return;
    throw new AnchorageError(
      'CONFLICT',
      `job ${takenBy} changes the live model at the moment; wait for it, or cancel it`,
    );
  }

  /** @throws AnchorageError NOT_FOUND */
  async get(id: string): Promise<Job> {
    const job = await this.store.call('get', { id });
    if (job) return job;
    throw new AnchorageError('NOT_FOUND', `There is no job ${id}; GET /admin/jobs lists them`, { field: 'id' });
  }

  /** Newest first. */
  list(limit: number, state?: JobState): Promise<Job[]> {
    return this.store.call('list', { limit, ...(state === undefined ? {} : { state }) });
  }

  /** Jobs that wait or run, in the order of the queue. */
  async unfinished(): Promise<Job[]> {
    const [running, queued] = await Promise.all([
      this.store.call('inOrder', { state: 'running' }),
      this.store.call('inOrder', { state: 'queued' }),
    ]);
    return [...running, ...queued].map(({ job }) => job);
  }

  /** The points of a training's curve: progress events that have a loss. */
  async curve(id: string): Promise<Json[]> {
    return (await this.store.call('curve', { id, points: CURVE_POINTS })).map(({ data }) => data);
  }

  /**
   * Ends a job: one that waits at once, one that runs with its whole process tree; its folder stays, checkpoint and all.
   * @returns the job when it is over. @throws AnchorageError NOT_FOUND; CONFLICT where it is over already.
   */
  async cancel(id: string): Promise<Job> {
    const job = await this.get(id);
    if (isOver(job.state))
      throw new AnchorageError(
        'CONFLICT',
        `Job ${id} is over: it ${job.state === 'cancelled' ? 'was cancelled' : job.state}`,
      );
    const running = this.running.get(id);
    if (running) {
      running.controller.abort('cancel');
      await running.finished;
    } else {
      await this.over(id, { state: 'cancelled' });
    }
    return this.get(id);
  }

  /** Events after `after` and those that follow, until the job is over, the signal is aborted, or the server ends. */
  async *events(id: string, after: number, signal: AbortSignal): AsyncGenerator<JobEvent | 'idle'> {
    let last = after;
    let wake = (): void => {};
    const stop = this.store.listen(id, () => wake());
    const both = AbortSignal.any([signal, this.ending]);
    let isIdle = false;
    const idle = setInterval(() => {
      isIdle = true;
      wake();
    }, IDLE_MS);
    const aborted = (): void => wake();
    both.addEventListener('abort', aborted);
    try {
      while (!both.aborted) {
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
        });
        // The state first: an event that comes after it is read by the page below, or wakes.
        const { state } = await this.get(id);
        const page = await this.store.call('events', { id, after: last });
        for (const event of page) {
          last = event.sequence;
          yield event;
        }
        if (page.length > 0) continue;
        if (isOver(state)) return;
        await woken;
        if (isIdle) yield 'idle';
        isIdle = false;
      }
    } finally {
      stop();
      clearInterval(idle);
      both.removeEventListener('abort', aborted);
    }
  }

  /** Asks what runs to write its checkpoint and leave; it is gone on with at the next start. */
  async stop(): Promise<void> {
    this.closing = true;
    this.closed.abort();
    await this.pumping;
    for (const { controller } of this.running.values()) controller.abort('shutdown');
    await Promise.all([...this.running.values()].map(({ finished }) => finished));
    await this.pumping;
  }

  private async takeUp(job: Job, process: unknown): Promise<void> {
    const ended = process ? await endLeftover(process as GroupIdentity) : false;
    const fields = { job: job.id, type: job.type, attempts: job.attempts, endedLeftoverProcess: ended };
    if (job.attempts >= ATTEMPTS_MAX) {
      const message = `the server ended ${job.attempts} times while this job ran; it is not started again`;
      this.parts.logger?.error(fields, message);
      await this.over(job.id, { state: 'failed', error: { reason: 'server', message, lines: [] } });
      return;
    }
    this.parts.logger?.warn(fields, 'a job was running when the server ended: it goes on');
    const reason = 'the server ended while it ran; it goes on';
    await this.store.update(job.id, { state: 'queued', process: null }, [
      { event: 'state', data: { state: 'queued', reason } },
    ]);
  }

  /** Starts what may start; calls follow one another. */
  private pump(): void {
    this.pumping = this.pumping
      .then(async () => {
        for (const lane of LANES) await this.startNext(lane);
      })
      .catch((error: Error) => this.parts.logger?.error({ err: error }, 'the queue of jobs stands still'));
  }

  private async startNext(lane: JobLane): Promise<void> {
    if (this.closing || this.busy.has(lane)) return;
    const queued = await this.store.call('inOrder', { state: 'queued' });
    const next = queued.find(({ job }) => laneOf(job.type) === lane)?.job;
    if (!next || this.closing) return;
    this.busy.add(lane);
    const controller = new AbortController();
    const finished = this.run(next, controller.signal)
      .catch((error: Error) => this.parts.logger?.error({ err: error, job: next.id }, 'a job could not be kept'))
      .finally(() => {
        this.running.delete(next.id);
        this.busy.delete(lane);
        this.pump();
      });
    this.running.set(next.id, { controller, finished });
  }

  private async run(queued: Job, signal: AbortSignal): Promise<void> {
    const { id, type, attempts } = queued;
    const started = performance.now();
    const startedAt = queued.startedAt ?? new Date().toISOString();
    const patch = { state: 'running', startedAt, attempts: attempts + 1 } as const;
    await this.store.update(id, patch, [{ event: 'state', data: { state: 'running', attempt: attempts + 1 } }]);
    const job = await this.get(id);
    // Cancelled between its choice and its start.
    if (job.state !== 'running') return;
    await this.count();
    const folder = this.folderOf(id);
    mkdirSync(folder, { recursive: true });
    const log = new JobLog(join(folder, 'log.txt'));
    const memory = await this.store.call('memory', { id });
    const context = new JobContext({ job, memory, folder, signal, parts: this.parts, log });
    const outcome = await this.outcomeOf(context, signal);
    await log.close();
    this.parts.metrics.jobProgress.remove({ id });
    if (outcome === 'shutdown') {
      const reason = 'the server is stopping; it goes on at the next start';
      // An end that was asked for is no failed attempt.
      await this.store.update(id, { state: 'queued', process: null, attempts }, [
        { event: 'state', data: { state: 'queued', reason } },
      ]);
      return;
    }
    this.parts.metrics.jobDuration.observe({ type }, (performance.now() - started) / 1000);
    const said = {
      job: id,
      type,
      state: outcome.state,
      ...(outcome.error ? { reason: outcome.error.reason, error: outcome.error.message } : {}),
    };
    if (outcome.state === 'failed') this.parts.logger?.warn(said, 'a job failed');
    else this.parts.logger?.info(said, 'a job is over');
    await this.over(id, outcome);
    await this.prune();
  }

  private async outcomeOf(
    context: JobContext,
    signal: AbortSignal,
  ): Promise<{ state: 'succeeded' | 'failed' | 'cancelled'; error?: JobError } | 'shutdown'> {
    try {
      await KINDS[context.job.type].run(context, context.job.params as never);
      await context.settle();
      return { state: 'succeeded' };
    } catch (error) {
      await context.settle().catch(() => undefined);
      if (error instanceof Stopped || signal.aborted)
        return signal.reason === 'shutdown' ? 'shutdown' : { state: 'cancelled' };
      return { state: 'failed', error: jobError(error, this.parts) };
    }
  }

  /** The end of a job, on disk; where the disk refuses, tried until it does not. */
  private async over(id: string, { state, error }: { state: JobState; error?: JobError }): Promise<void> {
    const finishedAt = new Date().toISOString();
    const patch = {
      state,
      finishedAt,
      etaSeconds: null,
      process: null,
      ...(state === 'succeeded' ? { progress: 1 } : {}),
      ...(error ? { error } : {}),
    };
    const event = { event: 'state', data: { state, ...(error ? { error } : {}) } };
    for (;;) {
      try {
        await this.store.update(id, patch, [event]);
        await this.count();
        return;
      } catch (refusal) {
        this.parts.logger?.error({ err: refusal as Error, job: id }, 'the end of a job could not be stored');
        if (this.closing || !(refusal instanceof AnchorageError) || refusal.code !== 'STORAGE_FULL') throw refusal;
        await pause(RETRY_WRITE_MS);
      }
    }
  }

  /** Old jobs go with their folders, but for those that a model on disk was trained in. */
  private async prune(): Promise<void> {
    const trained = ((await this.store.call('readMeta', { key: 'trained' })) ?? {}) as Record<string, string>;
    const except = Object.values(trained).flatMap((folder) => /(?:^|\/)jobs\/([^/]+)\//.exec(folder)?.[1] ?? []);
    const gone = await this.store.call('prune', { kept: this.parts.config.jobsKept, except });
    for (const id of gone) await rm(this.folderOf(id), { recursive: true, force: true });
    if (gone.length > 0) await this.count();
  }

  private async count(): Promise<void> {
    for (const { type, state, jobs } of await this.store.call('counts', {})) {
      this.parts.metrics.jobs.set({ type, state }, jobs);
    }
  }
}

function jobError(error: unknown, { logger }: JobParts): JobError {
  if (error instanceof JobFailure) return { reason: error.reason, message: error.message, lines: error.lines };
  const { message, code } = error as { message: string; code?: string };
  if (code === 'STORAGE_FULL' || code === 'ENOSPC' || code === 'EDQUOT') return { reason: 'disk', message, lines: [] };
  if (error instanceof AnchorageError) return { reason: error.status < 500 ? 'input' : 'server', message, lines: [] };
  logger?.error({ err: error as Error }, 'a job met a fault of the server');
  return { reason: 'server', message: `a fault of the server: ${message}`, lines: [] };
}
