/** Whether a candidate may take the live model's place, from figures alone. */
import type { Comparison } from './evaluation.js';
import type { GateParam } from './params.js';

export interface Gate {
  readonly rule: 'better' | 'always' | 'never';
  /** Below this p-value a difference is significant. */
  readonly alpha: number;
  /** What has to be gained somewhere. */
  readonly gain: 'significant' | 'any' | 'none';
  /** Points of a metric; a loss beyond it counts although it is not significant. */
  readonly lossMax: number | undefined;
}

export interface Verdict {
  readonly passes: boolean;
  /** For people: one sentence a finding. */
  readonly reasons: readonly string[];
}

export const gateOf = (given: GateParam): Gate =>
  typeof given === 'string'
    ? { rule: given, alpha: 0.05, gain: 'significant', lossMax: undefined }
    : { ...given, lossMax: given.lossMax };

/** better: no significant loss on any set, and a gain on one at least. */
export function decide(comparisons: readonly Comparison[], { rule, alpha, gain, lossMax }: Gate): Verdict {
  if (rule !== 'better') {
    const reason =
      rule === 'always'
        ? 'the gate lets everything pass'
        : 'the gate lets nothing pass: the figures are all that was asked for';
    return { passes: rule === 'always', reasons: [reason] };
  }
  const isSignificant = ({ pValue }: Comparison): boolean => pValue < alpha;
  const losses = comparisons.filter(
    (one) =>
      one.difference.value < 0 && (isSignificant(one) || -one.difference.value > (lossMax ?? Number.POSITIVE_INFINITY)),
  );
  const gains = comparisons.filter((one) => one.difference.value > 0 && (gain === 'any' || isSignificant(one)));
  const reasons = [
    ...losses.map((one) => `a loss on ${described(one)}`),
    ...gains.map((one) => `a gain on ${described(one)}`),
  ];
  const misses = gain !== 'none' && gains.length === 0;
  if (misses) {
    const kind = gain === 'any' ? 'gain' : `significant gain (p < ${alpha})`;
    const found = comparisons.map(described).join('; ');
    reasons.push(`no ${kind} on any set: ${found === '' ? 'none was judged' : found}`);
  }
  return { passes: losses.length === 0 && !misses, reasons };
}

const described = ({ set, metric, before, after, difference, pValue }: Comparison): string =>
  `${set} (${metric} ${before.value} -> ${after.value}, ${difference.value > 0 ? '+' : ''}${difference.value} [${difference.low}, ${difference.high}], p ${pValue})`;
