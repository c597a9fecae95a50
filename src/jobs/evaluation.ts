/** Two model versions judged by the trainer on the same sets, and what it found: figures with intervals and a paired test. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { artifactPath } from './data-path.js';
import type { JobContext } from './job-context.js';

export interface EvaluationRequest {
  /** name@version; the first of two is the baseline. */
  readonly models: readonly string[];
  /** Absolute folders, each perhaps with `:split`. */
  readonly sets: readonly string[];
  readonly queriesMax: number;
  readonly documentsMax: number;
  /** Where the report goes. */
  readonly output: string;
}

/** Percent. */
export interface Figure {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface Comparison {
  readonly set: string;
  readonly metric: string;
  /** Queries, pairs, texts or rounds that were judged. */
  readonly items: number;
  readonly before: Figure;
  readonly after: Figure;
  /** after - before, in points, over the same items. */
  readonly difference: Figure;
  readonly pValue: number;
}

interface Entry {
  readonly metric: string;
  readonly items: number;
  readonly figures: Readonly<Record<string, Figure>>;
  readonly difference?: Figure & { readonly pValue: number };
}
type Report = Readonly<Record<string, Readonly<Record<string, Entry>>>>;

/** @returns a comparison a set where there are two models, else none; the report lies in `output`. */
export async function evaluate(context: JobContext, request: EvaluationRequest): Promise<Comparison[]> {
  const { models } = context.parts;
  const encoders = request.models.flatMap((id) => ['--encoder', `${id}=${models.folderOf(id)}`]);
  const sets = request.sets.flatMap((set) => ['--set', set]);
  const bounds = ['--queries-max', String(request.queriesMax), '--documents-max', String(request.documentsMax)];
  await context.trainer('evaluate', [...encoders, ...sets, ...bounds, '--output', request.output]);
  const text = await readFile(join(request.output, 'evaluation.json'), 'utf8');
  const { encoders: report } = JSON.parse(text) as { encoders: Report };
  context.made({ evaluation: artifactPath(context.parts.config.dataDir, request.output) });
  context.measured({ evaluation: shown(report) });
  const [baseline, candidate] = request.models;
  return candidate === undefined ? [] : comparisons(report[baseline!]!, report[candidate]!);
}

function comparisons(before: Report[string], after: Report[string]): Comparison[] {
  return Object.entries(after).map(([set, { metric, items, figures, difference }]) => {
    const { pValue, value, low, high } = difference!;
    return {
      set,
      metric,
      items,
      before: before[set]!.figures[metric]!,
      after: figures[metric]!,
      difference: { value, low, high },
      pValue,
    };
  });
}

/** model -> set -> {metric, value, low, high} */
const shown = (report: Report) =>
  Object.fromEntries(
    Object.entries(report).map(([model, sets]) => [
      model,
      Object.fromEntries(
        Object.entries(sets).map(([set, { metric, figures }]) => [set, { metric, ...figures[metric] }]),
      ),
    ]),
  );
