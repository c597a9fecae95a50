/**
 * What a job is: its kinds, its states, and the record that the store keeps and the routes show.
 *
 *   queued ──► running ──► succeeded
 *     │  ▲        │ ├────► failed
 *     │  └────────┘ │      (back to queued: the server ended while it ran)
 *     └─────────────┴────► cancelled
 */

/** In the order in which a pipeline runs them; pipeline is all of them. */
export const JOB_TYPES = ['synthesize', 'finetune', 'evaluate', 'export', 'deploy', 'reindex', 'pipeline'] as const;
export type JobType = (typeof JOB_TYPES)[number];

export const JOB_STATES = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const;
export type JobState = (typeof JOB_STATES)[number];

export const isOver = (state: JobState): boolean => state !== 'queued' && state !== 'running';

/** Two lanes: one training at a time, and beside it one job that the cores hardly feel or that serving waits for. */
export const LANES = ['training', 'light'] as const;
export type JobLane = (typeof LANES)[number];

export const laneOf = (type: JobType): JobLane =>
  type === 'synthesize' || type === 'finetune' || type === 'pipeline' ? 'training' : 'light';

export type Json = Record<string, unknown>;

/** Why a job failed, in one word that programs can tell apart; docs/loop.md says what to do about each. */
export const FAILURES = [
  'input',
  'environment',
  'parity',
  'endpoint',
  'diverged',
  'disk',
  'memory',
  'silent',
  'trainer',
  'server',
] as const;
export type FailureReason = (typeof FAILURES)[number];

export interface JobError {
  readonly reason: FailureReason;
  readonly message: string;
  /** The last lines that the trainer wrote to standard error, oldest first. */
  readonly lines: readonly string[];
}

export interface Job {
  readonly id: string;
  readonly type: JobType;
  readonly state: JobState;
  readonly params: Json;
  /** What it does now, in the trainer's or the deployment's words; null before the first. */
  readonly stage: string | null;
  /** 0 to 1, over all stages; an estimate. */
  readonly progress: number;
  readonly etaSeconds: number | null;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  /** How often it was started: more than once where the server ended while it ran. */
  readonly attempts: number;
  /** Figures, by name: the last of each. */
  readonly metrics: Json;
  /** What it made, by name: paths below the data directory, or a model version as name@version. */
  readonly artifacts: Json;
  readonly error: JobError | null;
}

/** What a job keeps for itself between two lives of the server; see job-context.ts. */
export interface JobMemory {
  /** Finished steps by name, with what they gave. */
  readonly steps: Readonly<Record<string, Json>>;
}

export interface JobEvent {
  /** Rising from 1; the id of the server-sent event. Old progress events are thinned out, so there may be gaps. */
  readonly sequence: number;
  readonly at: string;
  /** `state`, or one of the trainer's events. */
  readonly event: string;
  readonly data: Json;
}

/** Something that ends a job as failed, with words for the person who asked for it. */
export class JobFailure extends Error {
  readonly reason: FailureReason;
  readonly lines: readonly string[];

  constructor(reason: FailureReason, message: string, lines: readonly string[] = []) {
    super(message);
    this.name = 'JobFailure';
    this.reason = reason;
    this.lines = lines;
  }
}
