/** Every kind of job: what it does, and what is checked before it is taken into the queue. */
import type { JobType } from '../job.js';
import { evaluateKind } from './evaluate.js';
import { exportKind } from './export.js';
import { finetuneKind } from './finetune.js';
import type { Kind } from './kind.js';
import { synthesizeKind } from './synthesize.js';

export const KINDS = {
  synthesize: synthesizeKind,
  finetune: finetuneKind,
  evaluate: evaluateKind,
  export: exportKind,
} as const satisfies Record<JobType, Kind<never>>;
