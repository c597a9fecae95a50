/** What the writer thread can be asked to do. Every answer to a write means that it is on disk. */
import type { CollectionSettings, ModelIdentity } from './collection-settings.js';
import type { CollectionState } from './database.js';
import type { Selection, Upserted } from './document-writer.js';
import type { CheckedDocument } from './documents.js';

/** Seconds that the commit took, shared with whatever else was committed with it. */
interface Committed {
  readonly commitSeconds: number;
}

export type WriterOperations = {
  /** Makes the collection, or answers with the state of the one that is there. */
  create: (argument: { name: string; settings: CollectionSettings; model: ModelIdentity }) => CollectionState;
  open: (argument: { name: string }) => CollectionState;
  upsert: (argument: { name: string; documents: readonly CheckedDocument[] }) => Upserted & Committed;
  patch: (argument: {
    name: string;
    selection: Selection;
    patch: string;
  }) => { updated: number; sequence: number } & Committed;
  delete: (argument: { name: string; selection: Selection }) => { deleted: number; sequence: number } & Committed;
  prune: (argument: { name: string; upToSequence: number }) => void;
  compact: (argument: { name: string }) => { freePages: number; walEmptied: boolean };
  /** Writes one commit of the collection's rows to a new file, while writes go on. */
  backup: (argument: { name: string; file: string }) => void;
  /** Puts what was staged as `.restored-<name>` in the collection's place, if there is one. */
  swapIn: (argument: { name: string }) => CollectionState;
  drop: (argument: { name: string }) => void;
  close: (argument: Record<string, never>) => void;
};
