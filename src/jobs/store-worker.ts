/** The thread that holds jobs.sqlite: its fsyncs hold up neither HTTP nor the index. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { storageError } from '../index/storage-errors.js';
import { serveCalls } from '../index/thread-protocol.js';
import { FeedbackTables } from './feedback-tables.js';
import { JobTables } from './job-tables.js';
import type { StoreOperations } from './store-operations.js';

const { dataDir } = workerData as { dataDir: string };
mkdirSync(dataDir, { recursive: true });
const tables = new JobTables(join(dataDir, 'jobs.sqlite'));

let kept: FeedbackTables | undefined;
/** Its file is made when it is first asked for: where feedback is off, there is none. */
function feedback(): FeedbackTables {
  kept ??= new FeedbackTables(join(dataDir, 'feedback.sqlite'));
  return kept;
}

/** A refused write is the disk's fault, not a programmer's. */
function guarded<Argument, Answer>(operation: (argument: Argument) => Answer): (argument: Argument) => Answer {
  return (argument) => {
    try {
      return operation(argument);
    } catch (error) {
      throw storageError(error);
    }
  };
}

serveCalls<StoreOperations>(parentPort!, {
  create: guarded((argument) => tables.create(argument)),
  find: (argument) => tables.find(argument),
  get: (argument) => tables.get(argument),
  memory: (argument) => tables.memory(argument),
  list: (argument) => tables.list(argument),
  inOrder: (argument) => tables.inOrder(argument),
  update: guarded((argument) => tables.update(argument)),
  events: (argument) => tables.events(argument),
  curve: (argument) => tables.curve(argument),
  counts: () => tables.counts(),
  prune: guarded((argument) => tables.prune(argument)),
  readMeta: (argument) => tables.readMeta(argument),
  writeMeta: guarded((argument) => tables.writeMeta(argument)),
  addQueries: guarded((argument) => feedback().addQueries(argument)),
  feedbackQuery: (argument) => feedback().query(argument),
  addLabel: guarded((argument) => feedback().addLabel(argument)),
  judged: (argument) => feedback().judged(argument),
  feedbackCounts: () => feedback().counts(),
  forget: guarded((argument) => feedback().forget(argument)),
  close: () => {
    tables.close();
    kept?.close();
  },
});
