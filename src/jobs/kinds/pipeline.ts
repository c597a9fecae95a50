/**
 * pipeline: all of it, from a collection that is being served to a better model behind it. Each part is the one that the job
 * of its own runs; what is left of one is what the next begins with.
 */
import { join } from 'node:path';
import { AnchorageError } from '../../errors.js';
import { artifactPath } from '../data-path.js';
import { deploy } from '../deployment.js';
import { feedbackData } from '../feedback-data.js';
import { holdOut } from '../held-out.js';
import type { JobContext } from '../job-context.js';
import { checkLlmEndpoint } from '../llm-endpoint.js';
import type { PipelineParams } from '../params.js';
import { setsOf } from './evaluate.js';
import { exportModel } from './export.js';
import { checkRecipe, finetune } from './finetune.js';
import type { Kind } from './kind.js';
import { corpusOf, synthesize } from './synthesize.js';

export const pipelineKind: Kind<PipelineParams> = {
  check({ collection, synthesize: synthesis, finetune: training, feedback }, parts) {
    parts.collections.get(collection);
    checkLlmEndpoint(synthesis, parts.config.jobLlmUrls);
    if (feedback && !parts.feedback) {
      const message = 'params.feedback: none is kept; start the server with --feedback';
      throw new AnchorageError('VALIDATION', message, { field: 'params.feedback' });
    }
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
    const joined = params.feedback ? await joinFeedback(context, params, { train, corpus }) : { train, sets: [] };
    context.made({ heldOut: artifactPath(dataDir, set) });
    const trained = await finetune(context, params.finetune, joined.train, [0.26, 0.65]);
    const model = await exportModel(context, params.export, trained, [0.65, 0.75]);
    const { gate, queriesMax, documentsMax, keepPrevious, index, textsPerSecond } = params;
    const pace = textsPerSecond === undefined ? {} : { textsPerSecond };
    const sets = [set, ...joined.sets, ...setsOf(dataDir, params.sets ?? [])];
    await deploy(context, { model, gate, sets, queriesMax, documentsMax, keepPrevious, index, ...pace }, [0.75, 1]);
  },
};

/** What people said of results joins the records to train on, and a part of it judges. */
async function joinFeedback(
  context: JobContext,
  { collection: name, heldOut: share, synthesize: { seed } }: PipelineParams,
  { train, corpus }: { train: string; corpus: string },
): Promise<{ train: string; sets: string[] }> {
  const { collections, feedback } = context.parts;
  const [output, set] = [context.path('split', 'train-with-feedback.jsonl'), context.path('split', 'feedback')];
  const joined = await context.step('join feedback', [0.26, 0.26], async () => {
    const judged = (await feedback?.judged(name)) ?? [];
    const collection = collections.get(name);
    return { ...(await feedbackData({ judged, collection, train, output, corpus, set, share, seed })) };
  });
  context.measured({ feedback: joined });
  return { train: output, sets: joined.queries > 0 ? [set] : [] };
}
