/** What jobs are made of: handed in by main.ts, and by tests their own. */
import type { Config } from '../config.js';
import type { Collections } from '../index/collections.js';
import type { Metrics } from '../metrics.js';
import type { ModelRegistry } from '../model/registry.js';
import type { DeploymentTurn } from './deployment-turn.js';
import type { Feedback } from './feedback.js';
import type { JobStore } from './job-store.js';
import type { RecentQueries } from './recent-queries.js';
import type { TrainerLimits } from './trainer-process.js';

export interface JobLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface JobParts {
  readonly config: Pick<Config, 'dataDir' | 'model' | 'jobLlmUrls' | 'jobQueueMax' | 'jobsKept'>;
  readonly metrics: Metrics;
  readonly models: ModelRegistry;
  readonly collections: Collections;
  readonly trainer: TrainerLimits;
  readonly store: JobStore;
  readonly recentQueries: RecentQueries;
  /** Absent where the setting is off. */
  readonly feedback?: Feedback;
  readonly turn: DeploymentTurn;
  /** Absent: nowhere. */
  readonly logger?: JobLogger;
}
