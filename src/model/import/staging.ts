/**
 * A version folder appears whole or not at all: it is written under a name that no registry reads, `.import-…`, and
 * renamed when it is complete. A version that exists is never replaced.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AnchorageError } from '../../errors.js';

/**
 * @param write fills the folder it is given and names the version that it is
 * @returns what `write` returned, and the version's folder
 */
export async function stageVersion<T extends { name: string; version: string }>(
  modelsDir: string,
  write: (folder: string) => Promise<T>,
): Promise<{ folder: string; written: T }> {
  const staging = join(modelsDir, `.import-${randomUUID()}`);
  await mkdir(staging, { recursive: true });
  try {
    const written = await write(staging);
    const folder = join(modelsDir, written.name, written.version);
    await refuseExisting(folder);
    await mkdir(dirname(folder), { recursive: true });
    // Fails on a version that somebody else put there since the look.
    await rename(staging, folder);
    return { folder, written };
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

export async function refuseExisting(folder: string): Promise<void> {
  const exists = await stat(folder).catch(() => undefined);
  if (exists)
    throw new AnchorageError('CONFLICT', `${folder} exists, and versions never change; --version names another`);
}
