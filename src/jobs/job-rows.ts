/** Rows of jobs.sqlite as they lie there, and as the rest of the code sees them. */
import type { Job, JobError, JobEvent, JobState, JobType, Json } from './job.js';

export interface JobRow {
  readonly id: string;
  readonly type: JobType;
  readonly state: JobState;
  readonly params: string;
  readonly stage: string | null;
  readonly progress: number;
  readonly eta_seconds: number | null;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly finished_at: string | null;
  readonly attempts: number;
  readonly metrics: string;
  readonly artifacts: string;
  readonly error: string | null;
  readonly memory: string;
  readonly process: string | null;
  readonly request_hash: string;
}

export interface EventRow {
  readonly sequence: number;
  readonly at: string;
  readonly event: string;
  readonly data: string;
}

export const jobOf = (row: JobRow): Job => ({
  id: row.id,
  type: row.type,
  state: row.state,
  params: JSON.parse(row.params) as Json,
  stage: row.stage,
  progress: row.progress,
  etaSeconds: row.eta_seconds,
  createdAt: row.created_at,
  startedAt: row.started_at,
  finishedAt: row.finished_at,
  attempts: row.attempts,
  metrics: JSON.parse(row.metrics) as Json,
  artifacts: JSON.parse(row.artifacts) as Json,
  error: row.error === null ? null : (JSON.parse(row.error) as JobError),
});

export const eventOf = ({ sequence, at, event, data }: EventRow): JobEvent => ({
  sequence,
  at,
  event,
  data: JSON.parse(data) as Json,
});
