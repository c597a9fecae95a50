/** The version folders of a models folder. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AnchorageError } from '../../errors.js';
import { type Manifest, MODEL_NAME_PATTERN, readManifest } from '../manifest.js';

export interface ModelVersion {
  readonly folder: string;
  /** `name@version` */
  readonly id: string;
  /** The manifest, or what is wrong with it. */
  readonly manifest: Manifest | AnchorageError;
}

/** All versions in order of name and version; broken ones with their fault. */
export async function listModelVersions(modelsDir: string): Promise<ModelVersion[]> {
  const versions: ModelVersion[] = [];
  for (const name of await foldersOf(modelsDir)) {
    for (const version of await foldersOf(join(modelsDir, name))) {
      const folder = join(modelsDir, name, version);
      versions.push({ folder, id: `${name}@${version}`, manifest: await readManifest(folder).catch(operational) });
    }
  }
  return versions;
}

async function foldersOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: Error) => {
    throw new AnchorageError('NOT_FOUND', `cannot read the models folder: ${error.message}`);
  });
  const names = entries.filter((entry) => entry.isDirectory() && new RegExp(MODEL_NAME_PATTERN).test(entry.name));
  return names.map(({ name }) => name).sort();
}

function operational(error: unknown): AnchorageError {
  if (error instanceof AnchorageError) return error;
  throw error;
}
