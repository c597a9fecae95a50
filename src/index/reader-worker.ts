/** The thread of reads and full-text searches: apart from dense search, which a BM25 query of common words would hold up. */
import { parentPort, workerData } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import { collectionFile } from './data-directory.js';
import { type Connection, openForReading, readState } from './database.js';
import { DocumentReader } from './document-reader.js';
import { FullText } from './full-text.js';
import { readQueryMap } from './query-map.js';
import type { ReaderOperations } from './reader-operations.js';
import type { Searchable } from './searcher-operations.js';
import { serveCalls } from './thread-protocol.js';

const { dataDir } = workerData as { dataDir: string };

interface Open {
  readonly db: Connection;
  readonly fullText: FullText | undefined;
  /** By generation: their statements stay prepared. */
  readonly readers: Map<number, DocumentReader>;
}
const collections = new Map<string, Open>();

function open(name: string): void {
  const db = openForReading(collectionFile(dataDir, name));
  collections.set(name, {
    db,
    fullText: readState(db).settings.fullText ? new FullText(db) : undefined,
    readers: new Map(),
  });
}

function collection(name: string): Open {
  const open = collections.get(name);
  if (!open) throw new AnchorageError('NOT_FOUND', `There is no collection ${name}`, { field: 'collection' });
  return open;
}

function readerOf({ name, generation }: Searchable): DocumentReader {
  const { db, readers } = collection(name);
  const reader = readers.get(generation) ?? new DocumentReader(db, generation);
  readers.set(generation, reader);
  return reader;
}

function close(name: string): void {
  collections.get(name)?.db.close();
  collections.delete(name);
}

serveCalls<ReaderOperations>(parentPort!, {
  open: ({ name }) => open(name),
  page: ({ request, ...of }) => readerOf(of).page(request),
  byIds: ({ ids, include, ...of }) => readerOf(of).byIds(ids, include),
  byLabels: ({ labels, include, ...of }) => readerOf(of).byLabels(labels, include),
  sample: ({ limit, ...of }) => readerOf(of).sample(limit),
  queryMap: ({ from, ...of }) => {
    const reader = readerOf(of);
    return readQueryMap(reader.db, from, reader.state.model.fingerprint);
  },
  counts: (of) => readerOf(of).counts(),
  waiting: ({ limit, ...of }) => readerOf(of).waiting(limit),
  fillState: (of) => readerOf(of).fillState(),
  withoutText: (of) => readerOf(of).withoutText(),
  cutText: ({ parent, ...of }) => readerOf(of).cutText(parent),
  fullText: ({ name, query, limit, filter }) => {
    const { fullText } = collection(name);
    if (!fullText)
      throw new AnchorageError('VALIDATION', `mode: collection ${name} was made without fullText; use dense`, {
        field: 'mode',
      });
    const started = performance.now();
    const ranked = fullText.search(query, limit, filter);
    return { ranked, searchMs: performance.now() - started };
  },
  close: ({ name }) => close(name),
  closeAll: () => {
    for (const name of [...collections.keys()]) close(name);
  },
});
