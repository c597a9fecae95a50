/** finetune: trains the encoder behind the live model on a data set. */
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { modelId } from '../../model/manifest.js';
import { artifactPath, dataPath } from '../data-path.js';
import type { Json } from '../job.js';
import type { JobContext } from '../job-context.js';
import type { JobParts } from '../job-parts.js';
import type { FinetuneParams } from '../params.js';
import { makeRecipe } from '../recipe.js';
import { trainedFolder } from '../trained-models.js';
import type { Kind } from './kind.js';

type TrainingParams = Omit<FinetuneParams, 'dataset'>;

export const finetuneKind: Kind<FinetuneParams> = {
  check: ({ dataset, ...params }, parts) =>
    checkRecipe(params, parts, dataset === undefined ? undefined : 'its dataset'),

  async run(context, { dataset, ...params }) {
    const records = dataset === undefined ? undefined : recordsOf(dataset, context);
    await finetune(context, params, records, [0, 1]);
  },
};

/** The recipe is made once without being used: a path that leads outside is refused before the job waits. */
export function checkRecipe(
  params: TrainingParams,
  { config, models, trainer }: JobParts,
  dataset: string | undefined,
): void {
  const { dataDir } = config;
  const { trainerDir } = trainer;
  makeRecipe(params, models.live.manifest, { dataDir, trainerDir, output: '', dataset, defaultBase: () => '' });
}

/**
 * @param dataset file of training records; undefined where the recipe names its own.
 * @returns the folder of the trained model, as sentence-transformers has it.
 */
export async function finetune(
  context: JobContext,
  params: TrainingParams,
  dataset: string | undefined,
  range: readonly [number, number],
): Promise<string> {
  const { config, models, trainer } = context.parts;
  const output = context.path('run');
  const { folder } = await context.step('finetune', range, async () => {
    const { manifest } = models.live;
    const trained = await trainedFolder(context.parts, manifest);
    // Weights of a version that was not trained here are read back from its graph.
    const readBack = context.path('base');
    const places = {
      dataDir: config.dataDir,
      trainerDir: trainer.trainerDir,
      output,
      dataset,
      defaultBase: () => trained ?? readBack,
    };
    const recipe = makeRecipe(params, manifest, places);
    mkdirSync(context.folder, { recursive: true });
    if (recipe.base === readBack && !existsSync(readBack)) {
      const version = resolve(models.folderOf(modelId(manifest)));
      await context.trainer('base', ['--version', version, '--output', readBack]);
    }
    const file = context.path('recipe.json');
    writeFileSync(file, `${JSON.stringify(recipe, null, 2)}\n`);
    const done = await context.trainer('finetune', ['--recipe', file]);
    context.measured({ finetune: { steps: done.steps, tokens: done.tokens, pooling: done.pooling } as Json });
    return { folder: String(done.folder) };
  });
  context.made({ model: artifactPath(config.dataDir, folder), run: artifactPath(config.dataDir, output) });
  return folder;
}

/** A data set's folder stands for its train.jsonl. */
function recordsOf(dataset: string, context: JobContext): string {
  const path = dataPath(context.parts.config.dataDir, dataset, 'params.dataset');
  return statSync(path).isDirectory()
    ? dataPath(context.parts.config.dataDir, join(path, 'train.jsonl'), 'params.dataset')
    : path;
}
