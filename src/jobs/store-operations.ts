/** What the main thread may ask of the thread that holds jobs.sqlite; see job-tables.ts for what each does. */
import type { AskedQuery, JudgedQuery, Label } from './feedback-tables.js';
import type { Job, JobError, JobEvent, JobMemory, JobState, JobType, Json } from './job.js';

export interface RepeatableRequest {
  readonly type: JobType;
  readonly params: Json;
  readonly idempotencyKey?: string;
}

export interface NewJob extends RepeatableRequest {
  readonly id: string;
  readonly createdAt: string;
  /** Jobs that may wait. */
  readonly queuedMax: number;
}

export interface JobPatch {
  readonly state?: JobState;
  readonly stage?: string | null;
  readonly progress?: number;
  readonly etaSeconds?: number | null;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  readonly attempts?: number;
  readonly metrics?: Json;
  readonly artifacts?: Json;
  readonly error?: JobError;
  readonly memory?: JobMemory;
  /** The subprocess that works for the job; null when there is none. */
  readonly process?: Json | null;
}

export interface NewEvent {
  readonly event: string;
  readonly data: Json;
}

export interface Counted {
  readonly type: JobType;
  readonly state: JobState;
  readonly jobs: number;
}

export type StoreOperations = {
  create: (argument: NewJob) => { job: Job; isNew: boolean };
  find: (argument: RepeatableRequest & { idempotencyKey: string }) => Job | undefined;
  get: (argument: { id: string }) => Job | undefined;
  memory: (argument: { id: string }) => JobMemory;
  list: (argument: { limit: number; state?: JobState }) => Job[];
  inOrder: (argument: { state: JobState }) => { job: Job; process: unknown }[];
  update: (argument: { id: string; patch: JobPatch; events?: readonly NewEvent[] }) => JobEvent[];
  events: (argument: { id: string; after: number }) => JobEvent[];
  curve: (argument: { id: string; points: number }) => JobEvent[];
  counts: (argument: Record<never, never>) => Counted[];
  prune: (argument: { kept: number; except: readonly string[] }) => string[];
  readMeta: (argument: { key: string }) => unknown;
  writeMeta: (argument: { key: string; value: unknown }) => void;
  addQueries: (argument: { queries: readonly AskedQuery[]; nowMs: number }) => void;
  feedbackQuery: (argument: { id: string }) => AskedQuery | undefined;
  addLabel: (argument: { label: Label; nowMs: number }) => void;
  judged: (argument: { collection: string }) => JudgedQuery[];
  feedbackCounts: (argument: Record<never, never>) => { queries: number; labels: number; oldestMs: number | null };
  forget: (argument: { beforeMs: number }) => number;
  close: (argument: Record<never, never>) => void;
};
