/**
 * Which pooling an imported model is served with.
 *
 * What is asked for wins. Otherwise a model keeps the pooling it was trained with, with one exception: mean pooling is
 * anchor-token-aware pooling with gamma 0, and a model trained with the mean gets gamma 0.5, which is what this server is
 * for and moves its scores by a point at most, some up and some down (docs/models.md). Models trained with the first or
 * the last token have taught that token alone to stand for the text, and keep it.
 */
import { AnchorageError } from '../../errors.js';
import type { Manifest } from '../manifest.js';
import type { ModelFacts } from './model-facts.js';

export const DEFAULT_GAMMA = 0.5;
export const POOLING_MODES = ['ata', 'mean', 'cls', 'last', 'graph'] as const;

export interface PoolingRequest {
  readonly pooling?: Manifest['pooling']['mode'] | undefined;
  readonly gamma?: number | undefined;
}

export interface PoolingDecision {
  readonly pooling: Manifest['pooling'];
  /** Why, as a line for whoever imports. */
  readonly reason: string;
}

export function choosePooling({ pooling, gamma }: PoolingRequest, own: ModelFacts['pooling']): PoolingDecision {
  const { mode, reason } = pooling ? { mode: pooling, reason: 'as asked' } : defaultMode(own);
  if (mode === 'ata') return { pooling: { mode, gamma: gamma ?? DEFAULT_GAMMA }, reason };
  if (gamma !== undefined) {
    throw new AnchorageError(
      'CONFIG_INVALID',
      `--gamma needs --pooling ata; this model is pooled by ${mode}, ${reason}`,
    );
  }
  return { pooling: { mode }, reason };
}

function defaultMode(own: ModelFacts['pooling']): { mode: (typeof POOLING_MODES)[number]; reason: string } {
  if (own === undefined) {
    return { mode: 'ata', reason: 'the pooling it was trained with is not stated; --pooling cls if it was that' };
  }
  if (own === 'mean') return { mode: 'ata', reason: 'trained with mean pooling; --pooling mean serves it so' };
  if (typeof own === 'string') return { mode: own, reason: 'as it was trained; --pooling ata overrides it' };
  throw new AnchorageError(
    'MODEL_INVALID',
    `it was trained with ${own.unsupported} pooling, which is not served; --pooling chooses another`,
  );
}
