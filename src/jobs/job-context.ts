/**
 * What a running job works with: its folder, its log, its way to tell how far it is, and steps that are not done twice.
 * Always true: what a step gave is on disk before the next begins, so a job that is started again goes on where it was.
 */
import { join } from 'node:path';
import type { Job, JobMemory, Json } from './job.js';
import type { JobLog } from './job-log.js';
import type { JobParts } from './job-parts.js';
import type { JobPatch, NewEvent } from './store-operations.js';
import { makeEnvironment } from './trainer-environment.js';
import { progressOf, type TrainerEvent } from './trainer-events.js';
import { runTrainer, Stopped } from './trainer-process.js';

/** The same stage is not told more often. The trainer itself tells about once a second. */
const TELL_EVERY_MS = 500;
/** Figures of a progress event that GET shows as the newest. */
const SHOWN_FIGURES = ['loss', 'learningRate', 'tokensPerSecond', 'step', 'of'] as const;

export class JobContext {
  readonly job: Job;
  /** Absolute; only this job writes below it. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly parts: JobParts;
  private readonly log: JobLog;
  private memory: JobMemory;
  private metrics: Json;
  private artifacts: Json;
  private isReady = false;
  private range: readonly [from: number, to: number] = [0, 1];
  private told = { stage: '', atMs: 0 };
  private writing: Promise<void> = Promise.resolve();
  private writeFault: Error | undefined;

  constructor(options: {
    job: Job;
    memory: JobMemory;
    folder: string;
    signal: AbortSignal;
    parts: JobParts;
    log: JobLog;
  }) {
    this.job = options.job;
    this.memory = options.memory;
    this.folder = options.folder;
    this.signal = options.signal;
    this.parts = options.parts;
    this.log = options.log;
    this.metrics = { ...options.job.metrics };
    this.artifacts = { ...options.job.artifacts };
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** @throws Stopped where the job was cancelled or the server ends. */
  throwIfStopped(): void {
    if (this.signal.aborted) throw new Stopped();
  }

  /**
   * Runs a step, or gives what it gave when it was done before.
   * @param range share of the job's progress that the step takes, from and to, both 0 to 1.
   */
  async step<Result extends Json>(
    name: string,
    range: readonly [number, number],
    run: () => Promise<Result>,
  ): Promise<Result> {
    const done = this.memory.steps[name] as Result | undefined;
    if (done) return done;
    this.throwIfStopped();
    const before = this.range;
    this.range = range;
    try {
      this.at(name);
      const result = await run();
      this.memory = { steps: { ...this.memory.steps, [name]: result } };
      await this.write({ memory: this.memory, progress: range[1], etaSeconds: null });
      return result;
    } finally {
      this.range = before;
    }
  }

  /** What is told inside is told of this share of the job. */
  within(range: readonly [number, number], tell: () => void): void {
    const before = this.range;
    this.range = range;
    tell();
    this.range = before;
  }

  /** Says what is being done, and how much of it. @param share 0 to 1, of the step. */
  at(stage: string, share = 0, etaSeconds: number | null = null, data: Json = {}): void {
    const now = performance.now();
    if (stage === this.told.stage && share < 1 && now - this.told.atMs < TELL_EVERY_MS) return;
    this.told = { stage, atMs: now };
    const [from, to] = this.range;
    const progress = from + Math.min(1, Math.max(0, share)) * (to - from);
    const event = { event: 'progress', data: { stage, ...data, progress, etaSeconds } };
    this.parts.metrics.jobProgress.set({ id: this.job.id }, progress);
    void this.write({ stage, progress, etaSeconds }, [event]);
  }

  note(event: string, data: Json): void {
    void this.write({}, [{ event, data }]);
  }

  warn(message: string): void {
    this.log.write('job', message);
    this.note('warning', { message });
  }

  measured(figures: Json): void {
    this.metrics = { ...this.metrics, ...figures };
    void this.write({ metrics: this.metrics });
  }

  made(artifacts: Json): void {
    this.artifacts = { ...this.artifacts, ...artifacts };
    void this.write({ artifacts: this.artifacts });
  }

  /** The trainer's environment, made where it is missing. */
  private async environment(): Promise<void> {
    if (this.isReady) return;
    this.at('environment');
    const { log, signal } = this;
    const onStage = (stage: string): void => this.at(`environment: ${stage}`);
    await makeEnvironment({ log, signal, onStage, onStart: (group) => this.working({ ...group }) }, this.parts.trainer);
    await this.working(null);
    this.isReady = true;
  }

  /** One command of the trainer, its events told as this job's. @returns its `done` event. */
  async trainer(
    command: string,
    args: readonly string[],
    onEvent: (event: TrainerEvent) => void = () => {},
  ): Promise<TrainerEvent> {
    await this.environment();
    const { log, signal } = this;
    const hear = (event: TrainerEvent): void => {
      this.relay(event);
      onEvent(event);
    };
    try {
      const onStart = (group: object): Promise<void> => this.working({ ...group });
      return await runTrainer({ command, args, log, signal, onEvent: hear, onStart }, this.parts.trainer);
    } finally {
      await this.working(null);
    }
  }

  /** Resolves when all that was told is on disk. @throws the first refusal of the disk. */
  async settle(): Promise<void> {
    await this.writing;
    if (this.writeFault) throw this.writeFault;
  }

  private relay(event: TrainerEvent): void {
    const { event: name, ...data } = event;
    if (name === 'progress') {
      const { share, etaSeconds } = progressOf(event);
      const { stage, ...rest } = data;
      const shown = Object.fromEntries(
        SHOWN_FIGURES.flatMap((figure) => (figure in rest ? [[figure, rest[figure]]] : [])),
      );
      if ('loss' in shown) this.measured(shown);
      this.at(String(stage), share ?? 0, etaSeconds, rest);
    } else if (name !== 'done' && name !== 'error') {
      this.note(name, data);
    }
  }

  /** Notes the subprocess, so that another life of the server can find it. */
  private working(process: Json | null): Promise<void> {
    return this.write({ process });
  }

  private write(patch: JobPatch, events: readonly NewEvent[] = []): Promise<void> {
    this.writing = this.writing
      .then(() => this.parts.store.update(this.job.id, patch, events))
      .catch((error: Error) => {
        this.writeFault ??= error;
      });
    return this.writing;
  }
}
