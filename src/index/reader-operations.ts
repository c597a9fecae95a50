/** What the thread of reads and full-text searches can be asked to do. */
import type {
  Counts,
  CutText,
  EmbeddedText,
  Include,
  Page,
  PageRequest,
  StoredDocument,
  WaitingText,
} from './document-reader.js';
import type { FilterSql } from './filter.js';
import type { Ranked } from './fusion.js';
import type { QueryMap } from './query-map.js';
import type { Searchable } from './searcher-operations.js';

export type ReaderOperations = {
  open: (argument: { name: string }) => void;
  page: (argument: Searchable & { request: PageRequest }) => Page;
  byIds: (argument: Searchable & { ids: readonly string[]; include: readonly Include[] }) => StoredDocument[];
  byLabels: (
    argument: Searchable & { labels: readonly number[]; include: readonly Include[] },
  ) => ReadonlyMap<number, StoredDocument>;
  /** The next rows without a vector of that generation. */
  waiting: (argument: Searchable & { limit: number }) => WaitingText[];
  fillState: (argument: Searchable) => { filled: number; waiting: number };
  withoutText: (argument: Searchable) => { count: number; id: string | null };
  cutText: (argument: Searchable & { parent: string }) => CutText;
  /** Rows with text and vector, spread evenly over the collection. */
  sample: (argument: Searchable & { limit: number }) => EmbeddedText[];
  /** The map from that model's vectors to those of this generation. */
  queryMap: (argument: Searchable & { from: string }) => QueryMap | undefined;
  counts: (argument: Searchable) => Counts;
  fullText: (argument: { name: string; query: string; limit: number; filter: FilterSql | undefined }) => {
    ranked: Ranked[];
    searchMs: number;
  };
  close: (argument: { name: string }) => void;
  closeAll: (argument: Record<string, never>) => void;
};
