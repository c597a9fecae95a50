/** What the thread of reads and full-text searches can be asked to do. */
import type { Counts, Include, Page, PageRequest, StoredDocument } from './document-reader.js';
import type { FilterSql } from './filter.js';
import type { Ranked } from './fusion.js';

export type ReaderOperations = {
  open: (argument: { name: string }) => void;
  page: (argument: { name: string; request: PageRequest }) => Page;
  byIds: (argument: { name: string; ids: readonly string[]; include: readonly Include[] }) => StoredDocument[];
  byLabels: (argument: {
    name: string;
    labels: readonly number[];
    include: readonly Include[];
  }) => ReadonlyMap<number, StoredDocument>;
  counts: (argument: { name: string }) => Counts;
  fullText: (argument: { name: string; query: string; limit: number; filter: FilterSql | undefined }) => {
    ranked: Ranked[];
    searchMs: number;
  };
  close: (argument: { name: string }) => void;
  closeAll: (argument: Record<string, never>) => void;
};
