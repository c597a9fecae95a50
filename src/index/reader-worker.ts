/** The thread of reads and full-text searches: apart from dense search, which a BM25 query of common words would hold up. */
import { parentPort, workerData } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import { collectionFile } from './data-directory.js';
import { openForReading } from './database.js';
import { DocumentReader } from './document-reader.js';
import { FullText } from './full-text.js';
import type { ReaderOperations } from './reader-operations.js';
import { serveCalls } from './thread-protocol.js';

const { dataDir } = workerData as { dataDir: string };

interface Open {
  readonly reader: DocumentReader;
  readonly fullText: FullText | undefined;
}
const collections = new Map<string, Open>();

function open(name: string): void {
  const db = openForReading(collectionFile(dataDir, name));
  const reader = new DocumentReader(db);
  collections.set(name, { reader, fullText: reader.state.settings.fullText ? new FullText(db) : undefined });
}

function collection(name: string): Open {
  const open = collections.get(name);
  if (!open) throw new AnchorageError('NOT_FOUND', `There is no collection ${name}`, { field: 'collection' });
  return open;
}

function close(name: string): void {
  collections.get(name)?.reader.db.close();
  collections.delete(name);
}

serveCalls<ReaderOperations>(parentPort!, {
  open: ({ name }) => open(name),
  page: ({ name, request }) => collection(name).reader.page(request),
  byIds: ({ name, ids, include }) => collection(name).reader.byIds(ids, include),
  byLabels: ({ name, labels, include }) => collection(name).reader.byLabels(labels, include),
  counts: ({ name }) => collection(name).reader.counts(),
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
