/** Every kind of job: what it does, and what is checked before it is taken into the queue. */
import type { JobType } from '../job.js';
import { deployKind } from './deploy.js';
import { evaluateKind } from './evaluate.js';
import { exportKind } from './export.js';
import { finetuneKind } from './finetune.js';
import type { Kind } from './kind.js';
import { pipelineKind } from './pipeline.js';
import { reindexKind } from './reindex.js';
import { synthesizeKind } from './synthesize.js';

export const KINDS = {
  synthesize: synthesizeKind,
  finetune: finetuneKind,
  evaluate: evaluateKind,
  export: exportKind,
  deploy: deployKind,
  reindex: reindexKind,
  pipeline: pipelineKind,
} as const satisfies Record<JobType, Kind<never>>;
