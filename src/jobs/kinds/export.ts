/** export: a trained model as a model version that the registry serves, quantized and held to PyTorch by the trainer. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AnchorageError } from '../../errors.js';
import { modelId } from '../../model/manifest.js';
import { dataPath } from '../data-path.js';
import { JobFailure } from '../job.js';
import type { JobContext } from '../job-context.js';
import type { ExportParams } from '../params.js';
import { rememberTrained, trainedModelsFolder } from '../trained-models.js';
import type { Kind } from './kind.js';

export const exportKind: Kind<ExportParams> = {
  check({ name, version }, { config, models }) {
    const folder = join(trainedModelsFolder(config.dataDir), name ?? models.live.manifest.name, version ?? '-');
    if (version === undefined || !existsSync(folder)) return;
    const message = `there is a version ${version} of ${name ?? models.live.manifest.name} already, and versions never change: choose another`;
    throw new AnchorageError('CONFLICT', message, { field: 'params.version' });
  },

  async run(context, { model, ...params }) {
    await exportModel(context, params, dataPath(context.parts.config.dataDir, model, 'params.model'), [0, 1]);
  },
};

/** @param folder what finetune made. @returns the new version, name@version. */
export async function exportModel(
  context: JobContext,
  { quantization, name: asked, version: askedVersion }: Omit<ExportParams, 'model'>,
  folder: string,
  range: readonly [number, number],
): Promise<string> {
  const { config, models } = context.parts;
  const name = asked ?? models.live.manifest.name;
  const version = askedVersion ?? `${context.job.id}-${quantization}`;
  const id = modelId({ name, version });
  await context.step('export', range, async () => {
    const output = trainedModelsFolder(config.dataDir);
    removeStaging(join(output, name), version);
    // There already where the server ended between the export and its being noted: versions appear whole or not at all.
    if (!existsSync(join(output, name, version))) {
      const origin = `trained by job ${context.job.id} from ${modelId(models.live.manifest)}`;
      // Trained on short texts, it is to read texts as long as the live model does.
      const { maxTokens } = models.live.manifest;
      const flags = { model: folder, name, version, quantization, output, origin, 'max-tokens': maxTokens };
      const words = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
      await context.trainer('export', words).catch((error: unknown) => {
        throw quantization === 'float32' ? error : withWayOut(error);
      });
    }
    await rememberTrained(context.parts, id, folder);
    return { model: id };
  });
  context.made({ version: id });
  return id;
}

/** Quantization may cost one model more than another; the training is not lost for it. */
function withWayOut(error: unknown): unknown {
  if (!(error instanceof JobFailure) || error.reason !== 'parity') return error;
  const wayOut = 'the trained model is kept: its artifact "model" can be exported with "quantization": "float32"';
  return new JobFailure('parity', `${error.message}; ${wayOut}`, error.lines);
}

/** What a killed export left half made. */
function removeStaging(folder: string, version: string): void {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder)) {
    if (entry.startsWith(`.${version}.`)) rmSync(join(folder, entry), { recursive: true, force: true });
  }
}
