/** What the server is made of: main.ts composes these, tests compose their own, and every route is handed them. */
import type { Config } from '../config.js';
import type { Collections } from '../index/collections.js';
import type { Feedback } from '../jobs/feedback.js';
import type { Jobs } from '../jobs/jobs.js';
import type { RecentQueries } from '../jobs/recent-queries.js';
import type { Metrics } from '../metrics.js';
import type { ModelRegistry } from '../model/registry.js';
import type { Tracer } from '../trace.js';

export interface Parts {
  readonly config: Config;
  readonly metrics: Metrics;
  /** Absent: nothing is traced. */
  readonly tracer?: Tracer | undefined;
  readonly models: ModelRegistry;
  readonly collections: Collections;
  readonly jobs: Jobs;
  /** Absent where the setting is off. */
  readonly feedback?: Feedback;
  /** What deployments compare two models by. */
  readonly recentQueries: RecentQueries;
  /** What /admin routes ask for as a bearer token. */
  readonly adminToken: string;
}
