/** What the writer thread can be asked to do. Every answer to a write means that it is on disk. */
import type { CollectionSettings, ModelIdentity } from './collection-settings.js';
import type { CollectionState } from './database.js';
import type { Selection, Upserted } from './document-writer.js';
import type { CheckedDocument } from './documents.js';
import type { LabelledVector } from './generations.js';
import type { QueryMap } from './query-map.js';

/** Seconds that the commit took, shared with whatever else was committed with it. */
interface Committed {
  readonly commitSeconds: number;
}

export type WriterOperations = {
  /** Makes the collection, or answers with the state of the one that is there. */
  create: (argument: { name: string; settings: CollectionSettings; model: ModelIdentity }) => CollectionState;
  open: (argument: { name: string }) => CollectionState;
  /** @param generation that the vectors are for; refused where it is live no more. */
  upsert: (argument: {
    name: string;
    generation: number;
    documents: readonly CheckedDocument[];
  }) => Upserted & Committed;
  patch: (argument: {
    name: string;
    selection: Selection;
    patch: string;
  }) => { updated: number; sequence: number } & Committed;
  delete: (argument: { name: string; selection: Selection }) => { deleted: number; sequence: number } & Committed;
  prune: (argument: { name: string; upToSequence: number }) => void;
  /** The steps of generations.ts. */
  begin: (argument: { name: string; model: ModelIdentity; dimensions: number }) => CollectionState;
  fill: (argument: {
    name: string;
    generation: number;
    vectors: readonly LabelledVector[];
  }) => { sequence: number } & Committed;
  flip: (argument: { name: string; generation: number }) => CollectionState;
  forget: (argument: { name: string; role: 'building' | 'previous' }) => CollectionState;
  storeQueryMap: (argument: { name: string; map: QueryMap }) => void;
  /** @returns whether there is more to drop. */
  dropSome: (argument: { name: string; inUse: readonly number[] }) => boolean;
  compact: (argument: { name: string }) => { freePages: number; walEmptied: boolean };
  /** Writes one commit of the collection's rows to a new file, while writes go on. */
  backup: (argument: { name: string; file: string }) => void;
  /** Puts what was staged as `.restored-<name>` in the collection's place, if there is one. */
  swapIn: (argument: { name: string }) => CollectionState;
  drop: (argument: { name: string }) => void;
  close: (argument: Record<string, never>) => void;
};
