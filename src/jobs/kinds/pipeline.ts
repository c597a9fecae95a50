/**
 * pipeline: all of it, from a collection that is being served to a better model behind it. Each part is the one that the job
 * of its own runs; what is left of one is what the next begins with.
 */
import { join } from 'node:path';
import { artifactPath } from '../data-path.js';
import { deploy } from '../deployment.js';
import { holdOut } from '../held-out.js';
import type { PipelineParams } from '../params.js';
import { setsOf } from './evaluate.js';
import { exportModel } from './export.js';
import { checkRecipe, finetune } from './finetune.js';
import type { Kind } from './kind.js';
import { corpusOf, synthesize } from './synthesize.js';

export const pipelineKind: Kind<PipelineParams> = {
  check({ collection, finetune: training }, parts) {
    parts.collections.get(collection);
    checkRecipe(training, parts, 'its dataset');
  },

  async run(context, params) {
    const { dataDir } = context.parts.config;
    const corpus = await corpusOf(context, params.collection, [0, 0.01]);
    const dataset = await synthesize(context, params.synthesize, corpus, [0.01, 0.25]);
    const { train, set } = await context.step('hold out', [0.25, 0.26], async () => {
      const records = join(dataset, 'train.jsonl');
      const {
        heldOut: share,
        synthesize: { seed },
      } = params;
      return { ...(await holdOut({ records, corpus, folder: context.path('split'), share, seed })) };
    });
    context.made({ heldOut: artifactPath(dataDir, set) });
    const trained = await finetune(context, params.finetune, train, [0.26, 0.65]);
    const model = await exportModel(context, params.export, trained, [0.65, 0.75]);
    const { gate, queriesMax, documentsMax, keepPrevious, textsPerSecond } = params;
    const pace = textsPerSecond === undefined ? {} : { textsPerSecond };
    const sets = [set, ...setsOf(dataDir, params.sets ?? [])];
    await deploy(context, { model, gate, sets, queriesMax, documentsMax, keepPrevious, ...pace }, [0.75, 1]);
  },
};
