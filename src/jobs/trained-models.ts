/**
 * Which model versions were trained here, and where their PyTorch folders lie: what the next training begins with.
 * Model versions lie in `<dataDir>/models`; `trained` of jobs.sqlite maps name@version to a folder below the data directory.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Manifest, modelId } from '../model/manifest.js';
import { artifactPath } from './data-path.js';
import type { JobParts } from './job-parts.js';
import type { JobStore } from './job-store.js';

/** Where the registry finds them, beside the models folder. */
export const trainedModelsFolder = (dataDir: string): string => join(dataDir, 'models');

/** @returns the PyTorch folder of a version that was trained here and is still there. */
export async function trainedFolder(
  { config, store }: Pick<JobParts, 'config' | 'store'>,
  manifest: Pick<Manifest, 'name' | 'version'>,
): Promise<string | undefined> {
  const folder = (await readTrained(store))[modelId(manifest)];
  const path = folder === undefined ? undefined : join(config.dataDir, folder);
  return path !== undefined && existsSync(path) ? path : undefined;
}

export async function rememberTrained(
  { config, store }: Pick<JobParts, 'config' | 'store'>,
  model: string,
  folder: string,
): Promise<void> {
  const value = { ...(await readTrained(store)), [model]: artifactPath(config.dataDir, folder) };
  await store.call('writeMeta', { key: 'trained', value });
}

/** name@version -> folder below the data directory. */
export const readTrained = async (store: JobStore): Promise<Record<string, string>> =>
  ((await store.call('readMeta', { key: 'trained' })) ?? {}) as Record<string, string>;
