/**
 * Copies of all collections, made while they serve.
 *
 *   <dataDir>/snapshots/<id>/manifest.json                                   what it holds, with a SHA-256 a file
 *   <dataDir>/snapshots/<id>/collections/<name>/documents.sqlite             one commit of the collection
 *   <dataDir>/snapshots/<id>/collections/<name>/graph-<generation>.snapshot  not newer than the rows; see snapshot.ts
 *
 * Making one: everything is written under .new-<id>, the manifest last; then one rename. A folder without the dot is whole.
 *
 * Restoring a collection from one:
 *   1. The files are hashed and compared with the manifest: a damaged copy is refused before anything is touched.
 *   2. They are copied to collections/.staged-<name> and fsynced. 3. When all are, each is renamed to .restored-<name>: from
 *      here on it will happen. What fails before leaves neither.
 *   4. <name> is renamed to .replaced-<name>, 5. .restored-<name> to <name>, 6. .replaced-<name> is deleted.
 * A crash between 4 and 5 is finished by the next start (data-directory.ts).
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { constants, copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { AnchorageError } from '../errors.js';
import { COLLECTION_NAME } from './collection-settings.js';
import { collectionFolder, collectionsFolder, restoredFolder, syncFolderNow } from './data-directory.js';
import { storageError } from './storage-errors.js';

export const backupsFolder = (dataDir: string): string => join(dataDir, 'snapshots');

export const MANIFEST = 'manifest.json';
const ID = /^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$/;

const BackedUpFile = Type.Object({ sha256: Type.String(), bytes: Type.Integer({ minimum: 0 }) });
type BackedUpFile = Static<typeof BackedUpFile>;

const ManifestSchema = Type.Object({
  id: Type.String({ pattern: ID.source }),
  createdAt: Type.String(),
  /** Paths below the snapshot's folder. */
  files: Type.Record(Type.String(), BackedUpFile),
  collections: Type.Array(
    Type.Object({
      name: Type.String({ pattern: COLLECTION_NAME.source }),
      documents: Type.Integer(),
      sequence: Type.Integer(),
    }),
  ),
});
export type BackupManifest = Static<typeof ManifestSchema>;
export type BackedUpCollection = BackupManifest['collections'][number];
const manifestSchema = Compile(ManifestSchema);

export interface BackupSummary extends Omit<BackupManifest, 'files'> {
  readonly bytes: number;
}

/** @throws AnchorageError NOT_FOUND, also for what cannot be an id. */
export async function readManifest(dataDir: string, id: string): Promise<BackupManifest> {
  const file = join(backupsFolder(dataDir), id, MANIFEST);
  if (ID.test(id) && existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as BackupManifest;
  throw new AnchorageError('NOT_FOUND', `There is no snapshot ${id}; GET /admin/snapshots lists them`, { field: 'id' });
}

/** @returns undefined for what is no manifest: from elsewhere, it is not to be believed. */
export function parseManifest(json: string): BackupManifest | undefined {
  try {
    const manifest: unknown = JSON.parse(json);
    return manifestSchema.Check(manifest) ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** @throws AnchorageError NOT_FOUND. */
export async function deleteBackup(dataDir: string, id: string): Promise<void> {
  await readManifest(dataDir, id);
  const condemned = join(backupsFolder(dataDir), `.old-${id}`);
  await rename(join(backupsFolder(dataDir), id), condemned);
  await rm(condemned, { recursive: true, force: true });
}

/** What a crash left half written or half deleted. */
export async function removeUnfinishedBackups(dataDir: string): Promise<void> {
  if (!existsSync(backupsFolder(dataDir))) return;
  for (const name of await readdir(backupsFolder(dataDir))) {
    if (name.startsWith('.')) await rm(join(backupsFolder(dataDir), name), { recursive: true, force: true });
  }
}

/** Newest first. */
export async function listBackups(dataDir: string): Promise<BackupSummary[]> {
  if (!existsSync(backupsFolder(dataDir))) return [];
  const ids = (await readdir(backupsFolder(dataDir))).filter((name) => ID.test(name));
  const manifests = await Promise.all(ids.map((id) => readManifest(dataDir, id)));
  return manifests.map(summaryOf).sort((a, b) => b.id.localeCompare(a.id));
}

export function summaryOf({ files, ...manifest }: BackupManifest): BackupSummary {
  return { ...manifest, bytes: Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0) };
}

export interface BackupContents {
  readonly id: string;
  readonly now: Date;
  readonly names: readonly string[];
  /** Writes one collection's files into the folder; undefined of one that is there no more. */
  readonly write: (name: string, folder: string) => Promise<BackedUpCollection | undefined>;
}

/** @throws AnchorageError STORAGE_FULL; what fails leaves nothing behind. */
export async function makeBackup(dataDir: string, contents: BackupContents): Promise<BackupManifest> {
  const { id } = contents;
  const unfinished = join(backupsFolder(dataDir), `.new-${id}`);
  try {
    const manifest = await writeFiles(unfinished, contents);
    await rename(unfinished, join(backupsFolder(dataDir), id));
    syncFolderNow(backupsFolder(dataDir));
    return manifest;
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    throw storageError(error);
  }
}

async function writeFiles(unfinished: string, contents: BackupContents): Promise<BackupManifest> {
  const { id, now, names } = contents;
  const collections: BackedUpCollection[] = [];
  for (const name of names) {
    const folder = join(unfinished, 'collections', name);
    await mkdir(folder, { recursive: true });
    const collection = await contents.write(name, folder);
    if (!collection) {
      await rm(folder, { recursive: true });
      continue;
    }
    collections.push(collection);
    syncFolderNow(folder);
  }
  const files: Record<string, BackedUpFile> = {};
  for (const path of await filesBelow(unfinished)) files[path] = await fileEntry(join(unfinished, path));
  const manifest: BackupManifest = { id, createdAt: now.toISOString(), collections, files };
  await mkdir(unfinished, { recursive: true });
  await writeFile(join(unfinished, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { flush: true });
  return manifest;
}

/** @throws AnchorageError CONFLICT naming the file that is not what the manifest says. */
export async function verifyBackup(dataDir: string, { id, files }: BackupManifest): Promise<void> {
  for (const [path, expected] of Object.entries(files)) {
    const file = join(backupsFolder(dataDir), id, path);
    const { sha256 } = existsSync(file) ? await fileEntry(file) : { sha256: 'missing' };
    if (sha256 === expected.sha256) continue;
    throw new AnchorageError(
      'CONFLICT',
      `Snapshot ${id} is damaged: ${path} is not what was written; nothing was restored`,
    );
  }
}

const stagedFolder = (dataDir: string, name: string): string => collectionFolder(dataDir, `.staged-${name}`);

/** Steps 2 and 3, of all collections or of none. @throws AnchorageError STORAGE_FULL. */
export async function stageCollections(dataDir: string, id: string, names: readonly string[]): Promise<void> {
  try {
    for (const name of names) {
      await copyDurably(join(backupsFolder(dataDir), id, 'collections', name), stagedFolder(dataDir, name));
    }
    for (const name of names) {
      await rm(restoredFolder(dataDir, name), { recursive: true, force: true });
      await rename(stagedFolder(dataDir, name), restoredFolder(dataDir, name));
    }
    syncFolderNow(collectionsFolder(dataDir));
  } catch (error) {
    // The next start would finish what it finds.
    for (const name of names) {
      await rm(stagedFolder(dataDir, name), { recursive: true, force: true });
      await rm(restoredFolder(dataDir, name), { recursive: true, force: true });
    }
    throw storageError(error);
  }
}

async function copyDurably(source: string, target: string): Promise<void> {
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  for (const name of await readdir(source)) {
    await copyFile(join(source, name), join(target, name), constants.COPYFILE_FICLONE);
    syncFolderNow(join(target, name));
  }
  syncFolderNow(target);
}

async function filesBelow(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

export async function fileEntry(path: string): Promise<BackedUpFile> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return { sha256: hash.digest('hex'), bytes: (await stat(path)).size };
}
