/**
 * The thread of dense searches. Searches are answered as they come; between them, collections that lag behind their rows
 * are worked on in slices of a few milliseconds, so that a search waits for one slice at most.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import { LiveVectors } from './live-vectors.js';
import type { IndexOptions, Notice, SearcherEvent, SearcherOperations } from './searcher-operations.js';
import { serveCalls } from './thread-protocol.js';

const { dataDir, indexOptions } = workerData as { dataDir: string; indexOptions: IndexOptions };
const SLICE_MS = 4;
const REPORT_EVERY_MS = 200;
const IDLE_LOOK_EVERY_MS = 50;

const collections = new Map<string, Promise<LiveVectors>>();
const opened = new Map<string, LiveVectors>();
let working = false;
let reportedAtMs = 0;

function open(name: string): void {
  const notify = (notice: Notice): void => post({ kind: 'notice', notice });
  const opening = LiveVectors.open(name, { dataDir, notify, ...indexOptions });
  collections.set(name, opening);
  opening.then(
    (live) => {
      opened.set(name, live);
      report(name, live);
      startWork();
    },
    () => {}, // Whoever asks for the collection is told.
  );
}

async function collection(name: string): Promise<LiveVectors> {
  const live = await collections.get(name);
  if (!live) throw new AnchorageError('NOT_FOUND', `There is no collection ${name}`, { field: 'collection' });
  return live;
}

function startWork(): void {
  if (working) return;
  working = true;
  setImmediate(work);
}

function work(): void {
  let more = false;
  for (const live of opened.values()) more = live.work(SLICE_MS) || more;
  if (performance.now() - reportedAtMs > REPORT_EVERY_MS || !more) {
    reportedAtMs = performance.now();
    for (const [name, live] of opened) report(name, live);
  }
  working = more;
  if (more) setImmediate(work);
}

function post(event: SearcherEvent): void {
  parentPort!.postMessage({ event });
}

function report(name: string, live: LiveVectors): void {
  post({ kind: 'state', name, state: live.state() });
}

async function close(name: string): Promise<void> {
  const live = await collections.get(name);
  collections.delete(name);
  opened.delete(name);
  await live?.close();
}

async function useIdleTime(): Promise<void> {
  for (const [name, live] of opened) {
    const before = live.state().recallEstimate;
    await live.useIdleTime();
    if (opened.has(name) && live.state().recallEstimate !== before) report(name, live);
  }
  setTimeout(useIdleTime, IDLE_LOOK_EVERY_MS);
}
setTimeout(useIdleTime, IDLE_LOOK_EVERY_MS);

serveCalls<SearcherOperations>(parentPort!, {
  open: ({ name }) => open(name),
  search: async ({ name, request }) => {
    const live = opened.get(name) ?? (await collection(name));
    const answer = await live.search(request);
    startWork();
    return answer;
  },
  catchUp: async ({ name }) => {
    const live = await collection(name);
    live.catchUp();
    startWork();
    return live.state();
  },
  compact: async ({ name }) => {
    const rebuilt = (await collection(name)).compact();
    startWork();
    await rebuilt;
  },
  snapshot: async ({ name }) => {
    const live = await collection(name);
    await live.snapshot();
    return live.state();
  },
  close: ({ name }) => close(name),
  closeAll: async () => {
    for (const name of [...collections.keys()]) await close(name);
  },
});
