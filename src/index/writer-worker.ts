/**
 * The thread that writes: one SQLite connection a collection, one commit for all writes that are waiting.
 *
 * A commit ends with an fsync, which takes as long for a hundred writes as for one. So writes gather while the last commit
 * runs, and then go together: each in a savepoint of its own, so that one that fails takes none of the others with it. They
 * are answered after the commit, never before.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import {
  collectionFile,
  collectionFolder,
  collectionsFolder,
  restoredFolder,
  syncFolderNow,
} from './data-directory.js';
import { type CollectionState, type Connection, createTables, openForWriting } from './database.js';
import { DocumentWriter } from './document-writer.js';
import { beginGeneration, dropSomeOfUnkept, flipGeneration, forgetGeneration } from './generations.js';
import { storeQueryMap } from './query-map.js';
import { storageError } from './storage-errors.js';
import { serveCalls } from './thread-protocol.js';
import { WriteGroup } from './write-group.js';
import type { WriterOperations } from './writer-operations.js';

const { dataDir } = workerData as { dataDir: string };

interface Open {
  readonly writer: DocumentWriter;
  readonly group: WriteGroup;
}
const collections = new Map<string, Open>();

function openWriter(name: string): DocumentWriter {
  const db = openForWriting(collectionFile(dataDir, name));
  const writer = new DocumentWriter(db);
  collections.set(name, { writer, group: new WriteGroup(db) });
  return writer;
}

/** Writes that wait in the group go to the writer that is there when they run. */
function changeGenerations(name: string, change: (db: Connection) => CollectionState): CollectionState {
  const { writer, group } = collection(name);
  const state = change(writer.db);
  collections.set(name, { writer: new DocumentWriter(writer.db), group });
  return state;
}

function collection(name: string): Open {
  const open = collections.get(name);
  if (!open) throw new AnchorageError('NOT_FOUND', `There is no collection ${name}`, { field: 'collection' });
  return open;
}

/** The tables are made under another name, so that a crash leaves a whole collection or none. */
function create({ name, settings, model }: Parameters<WriterOperations['create']>[0]): CollectionState {
  const folder = collectionFolder(dataDir, name);
  if (existsSync(folder)) return (collections.get(name)?.writer ?? openWriter(name)).state;
  const unfinished = collectionFolder(dataDir, `.new-${name}`);
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  const db = openForWriting(join(unfinished, 'documents.sqlite'));
  createTables(db, settings, model);
  db.close();
  renameSync(unfinished, folder);
  syncFolderNow(collectionsFolder(dataDir));
  return openWriter(name).state;
}

function drop(name: string): void {
  collection(name).writer.db.close();
  collections.delete(name);
  const condemned = collectionFolder(dataDir, `.old-${name}-${Date.now()}`);
  renameSync(collectionFolder(dataDir, name), condemned);
  syncFolderNow(collectionsFolder(dataDir));
  rmSync(condemned, { recursive: true, force: true });
}

/** Steps 4 to 6 of backups.ts. */
function swapIn(name: string): CollectionState {
  const folder = collectionFolder(dataDir, name);
  const replaced = collectionFolder(dataDir, `.replaced-${name}`);
  collections.get(name)?.writer.db.close();
  collections.delete(name);
  if (existsSync(folder)) renameSync(folder, replaced);
  renameSync(restoredFolder(dataDir, name), folder);
  syncFolderNow(collectionsFolder(dataDir));
  rmSync(replaced, { recursive: true, force: true });
  return openWriter(name).state;
}

async function storing<T>(write: () => T | Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    throw storageError(error);
  }
}

serveCalls<WriterOperations>(parentPort!, {
  create: (argument) => storing(() => create(argument)),
  open: ({ name }) => openWriter(name).state,
  upsert: ({ name, documents, generation }) =>
    collection(name).group.add(() => collection(name).writer.upsert(documents, generation)),
  patch: ({ name, selection, patch }) =>
    collection(name).group.add(() => collection(name).writer.patchMetadata(selection, patch)),
  delete: ({ name, selection }) => collection(name).group.add(() => collection(name).writer.delete(selection)),
  begin: ({ name, model, dimensions }) =>
    storing(() => changeGenerations(name, (db) => beginGeneration(db, model, dimensions))),
  fill: ({ name, generation, vectors }) =>
    collection(name).group.add(() => collection(name).writer.fill(generation, vectors)),
  flip: ({ name, generation }) => storing(() => changeGenerations(name, (db) => flipGeneration(db, generation))),
  forget: ({ name, role }) => storing(() => changeGenerations(name, (db) => forgetGeneration(db, role))),
  storeQueryMap: ({ name, map }) => storing(() => storeQueryMap(collection(name).writer.db, map)),
  dropSome: ({ name, inUse }) => storing(() => dropSomeOfUnkept(collection(name).writer.db, inUse)),
  prune: ({ name, upToSequence }) => storing(() => collection(name).writer.pruneTombstones(upToSequence)),
  compact: ({ name }) => storing(() => collection(name).writer.compact()),
  backup: ({ name, file }) =>
    storing(async () => {
      await collection(name).writer.db.backup(file);
      syncFolderNow(file);
    }),
  swapIn: ({ name }) => storing(() => swapIn(name)),
  drop: ({ name }) => storing(() => drop(name)),
  close: () => {
    for (const { writer } of collections.values()) writer.db.close();
    collections.clear();
  },
});
