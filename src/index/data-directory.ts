/**
 * The data directory: where everything lies, and the lock that keeps it to one process.
 *
 *   <dataDir>/lock                          held by SQLite's own file lock while the server runs; the system drops it with
 *   <dataDir>/lock.pid                      the process, however that ends; the pid is for the message only
 *   <dataDir>/collections/<name>/documents.sqlite (-wal, -shm)     the truth
 *   <dataDir>/collections/<name>/graph-<generation>.snapshot       a cache of it
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { AnchorageError } from '../errors.js';

export const collectionsFolder = (dataDir: string): string => join(dataDir, 'collections');
export const collectionFolder = (dataDir: string, name: string): string => join(collectionsFolder(dataDir), name);
export const collectionFile = (dataDir: string, name: string): string =>
  join(collectionFolder(dataDir, name), 'documents.sqlite');

/** Held until `release`, or the end of the process. */
export interface DirectoryLock {
  release(): void;
}

/** @throws AnchorageError DATA_DIR_IN_USE naming the process that has it. */
export function lockDataDirectory(dataDir: string): DirectoryLock {
  mkdirSync(collectionsFolder(dataDir), { recursive: true });
  const pidFile = join(dataDir, 'lock.pid');
  const db = new Database(join(dataDir, 'lock'), { timeout: 0 });
  try {
    db.pragma('locking_mode = EXCLUSIVE');
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    if (!(error as { code?: string }).code?.startsWith('SQLITE_BUSY')) throw error;
    const message = `The data directory ${dataDir} is in use by ${holderOf(pidFile)}; stop it, or choose another with --data-dir`;
    throw new AnchorageError('DATA_DIR_IN_USE', message, { cause: error });
  }
  writeFileSync(pidFile, `${process.pid}\n`);
  return {
    release: () => {
      rmSync(pidFile, { force: true });
      db.close();
    },
  };
}

function holderOf(pidFile: string): string {
  try {
    return `process ${readFileSync(pidFile, 'utf8').trim()}`;
  } catch {
    return 'another process';
  }
}

const RESTORED = '.restored-';
export const restoredFolder = (dataDir: string, name: string): string =>
  collectionFolder(dataDir, `${RESTORED}${name}`);

/** Names of the collections; what a crash left half made or half deleted is removed, a restoration is finished. */
export function listCollections(dataDir: string): string[] {
  const names = readdirSync(collectionsFolder(dataDir));
  for (const name of names.filter((one) => one.startsWith(RESTORED))) {
    const target = name.slice(RESTORED.length);
    if (!names.includes(target)) renameSync(collectionFolder(dataDir, name), collectionFolder(dataDir, target));
  }
  const left = readdirSync(collectionsFolder(dataDir));
  for (const name of left.filter((one) => one.startsWith('.'))) {
    rmSync(collectionFolder(dataDir, name), { recursive: true, force: true });
  }
  return left.filter((one) => !one.startsWith('.')).sort();
}

/** A new or renamed entry is durable once its folder is. */
export function syncFolderNow(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
