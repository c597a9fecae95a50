/** evaluate: a model version, beside a baseline, on sets of the data directory. */

import { modelId } from '../../model/manifest.js';
import { dataPath } from '../data-path.js';
import { evaluate } from '../evaluation.js';
import type { JobParts } from '../job-parts.js';
import type { EvaluateParams } from '../params.js';
import type { Kind } from './kind.js';

export const evaluateKind: Kind<EvaluateParams> = {
  check({ model, baseline }, { models }) {
    for (const id of [model, baseline]) if (id !== undefined) models.folderOf(id);
  },

  async run(context, params) {
    const { sets, queriesMax, documentsMax } = params;
    const { dataDir } = context.parts.config;
    const comparisons = await evaluate(context, {
      models: modelsOf(params, context.parts),
      sets: setsOf(dataDir, sets),
      queriesMax,
      documentsMax,
      output: context.path('evaluation'),
    });
    if (comparisons.length > 0) context.measured({ comparisons });
  },
};

/** The model asked for beside the baseline, or else beside the live one; the live one alone where none is asked for. */
function modelsOf({ model, baseline }: EvaluateParams, { models }: JobParts): string[] {
  const live = modelId(models.live.manifest);
  return [...new Set([baseline ?? live, model ?? live])];
}

/** `folder` or `folder:split`, made absolute. */
export const setsOf = (dataDir: string, sets: readonly string[], field = 'params.sets'): string[] =>
  sets.map((set, at) => {
    const [folder = '', split] = set.split(':');
    const path = dataPath(dataDir, folder, `${field}[${at}]`);
    return split === undefined ? path : `${path}:${split}`;
  });
