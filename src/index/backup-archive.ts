/**
 * A snapshot as one stream: a tar file of its folder, manifest first, so that it can go to another machine or an object
 * store without a second copy on this disk.
 *
 * Always true of one that was received: every file is named by its manifest and has its SHA-256, every collection has a name
 * that a collection can have, and rows; a stream that ends early, names other files or has other contents leaves nothing
 * behind.
 */
import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header, pack } from 'tar-stream';
import { AnchorageError } from '../errors.js';
import {
  type BackupManifest,
  type BackupSummary,
  backupsFolder,
  fileEntry,
  MANIFEST,
  parseManifest,
  readManifest,
  summaryOf,
} from './backups.js';
import { syncFolderNow } from './data-directory.js';
import { storageError } from './storage-errors.js';

/** What a snapshot may hold: collection names are those of collection-settings.ts. */
const ENTRY = /^(manifest\.json|collections\/[a-z0-9][a-z0-9._-]{0,99}\/(documents\.sqlite|graph-\d{1,9}\.snapshot))$/;
const MANIFEST_BYTES_MAX = 16 * 1024 * 1024;

/** @throws AnchorageError NOT_FOUND. A file that cannot be read later ends the stream in the middle. */
export async function archiveOf(dataDir: string, id: string): Promise<Readable> {
  const folder = join(backupsFolder(dataDir), id);
  const { files } = await readManifest(dataDir, id);
  const archive = pack();
  const write = async (): Promise<void> => {
    const manifest = await readFile(join(folder, MANIFEST));
    archive.entry({ name: MANIFEST, size: manifest.length }, manifest);
    for (const [name, { bytes }] of Object.entries(files)) {
      await pipeline(createReadStream(join(folder, name)), archive.entry({ name, size: bytes }));
    }
    archive.finalize();
  };
  write().catch((error: Error) => archive.destroy(error));
  return archive as unknown as Readable;
}

/** @throws AnchorageError VALIDATION for what is no whole snapshot, CONFLICT where it is there already, STORAGE_FULL. */
export async function receiveArchive(dataDir: string, stream: Readable): Promise<BackupSummary> {
  const unfinished = join(backupsFolder(dataDir), `.new-${randomBytes(6).toString('hex')}`);
  try {
    const names = await unpack(stream, unfinished);
    const manifest = await wholeManifest(unfinished, names);
    const target = join(backupsFolder(dataDir), manifest.id);
    if (existsSync(target)) throw new AnchorageError('CONFLICT', `Snapshot ${manifest.id} is here already`);
    await rename(unfinished, target);
    syncFolderNow(backupsFolder(dataDir));
    return summaryOf(manifest);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    throw storageError(error);
  }
}

/** @returns the names of its files. */
async function unpack(stream: Readable, folder: string): Promise<string[]> {
  const entries = extract();
  const names: string[] = [];
  const write = async ({ name, type, size }: Header, contents: Readable): Promise<void> => {
    if (type !== 'file' || !ENTRY.test(name)) throw refuse(`${JSON.stringify(name)} is no file of a snapshot`);
    if (name === MANIFEST && (size ?? 0) > MANIFEST_BYTES_MAX) throw refuse('its manifest is too large');
    names.push(name);
    const path = join(folder, name);
    await mkdir(dirname(path), { recursive: true });
    await pipeline(contents, createWriteStream(path, { flags: 'wx', flush: true }));
  };
  // Whoever waits for a stream is told of its error; said again later, to nobody, it would end the process.
  entries.on('error', () => {});
  entries.on('entry', (headers, contents, next) => {
    contents.on('error', () => {});
    write(headers, contents as unknown as Readable).then(
      () => next(),
      (error) => entries.destroy(error),
    );
  });
  try {
    await pipeline(stream, entries);
    return names;
  } catch (error) {
    const { code } = error as { code?: string };
    // tar-stream's own errors have no code: not a tar file, or one that was cut off.
    if (error instanceof AnchorageError || code?.startsWith('E')) throw error;
    throw refuse((error as Error).message);
  }
}

async function wholeManifest(folder: string, names: readonly string[]): Promise<BackupManifest> {
  const path = join(folder, MANIFEST);
  if (!existsSync(path)) throw refuse('it has no manifest.json');
  const manifest = parseManifest(await readFile(path, 'utf8'));
  if (!manifest) throw refuse('its manifest.json is none of ours');
  for (const [name, { sha256 }] of Object.entries(manifest.files)) {
    if (!ENTRY.test(name)) throw refuse(`its manifest names ${JSON.stringify(name)}`);
    const file = join(folder, name);
    if (!existsSync(file)) throw refuse(`${name} is missing`);
    if ((await fileEntry(file)).sha256 !== sha256) throw refuse(`${name} has another SHA-256 than its manifest says`);
  }
  const stranger = names.find((name) => name !== MANIFEST && !Object.hasOwn(manifest.files, name));
  if (stranger) throw refuse(`its manifest does not name ${stranger}`);
  for (const { name } of manifest.collections) {
    if (!Object.hasOwn(manifest.files, `collections/${name}/documents.sqlite`))
      throw refuse(`${name} has no documents`);
  }
  return manifest;
}

const refuse = (problem: string): AnchorageError =>
  new AnchorageError('VALIDATION', `This is no whole snapshot: ${problem}; nothing was stored`, { field: 'body' });
