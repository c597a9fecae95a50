/**
 * The thread of dense searches. Searches are answered as they come; between them, collections that lag behind their rows
 * are worked on in slices of a few milliseconds, so that a search waits for one slice at most.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import { LiveVectors } from './live-vectors.js';
import type { IndexOptions, Notice, Searchable, SearcherEvent, SearcherOperations } from './searcher-operations.js';
import { serveCalls } from './thread-protocol.js';

const { dataDir, indexOptions } = workerData as { dataDir: string; indexOptions: IndexOptions };
const SLICE_MS = 4;
const REPORT_EVERY_MS = 200;
const IDLE_LOOK_EVERY_MS = 50;

const opening = new Map<string, Promise<LiveVectors>>();
const opened = new Map<string, { readonly of: Searchable; readonly live: LiveVectors }>();
let working = false;
let reportedAtMs = 0;

const keyOf = ({ name, generation }: Searchable): string => `${name}/${generation}`;

function open({ name, generation }: Searchable): void {
  const of = { name, generation };
  if (opening.has(keyOf(of))) return;
  const notify = (notice: Notice): void => post({ kind: 'notice', notice });
  const onSnapshot = (): void => {
    const live = opened.get(keyOf(of))?.live;
    if (live) report(of, live);
  };
  const vectors = LiveVectors.open(of, { dataDir, notify, onSnapshot, ...indexOptions });
  opening.set(keyOf(of), vectors);
  vectors.then(
    (live) => {
      opened.set(keyOf(of), { of, live });
      report(of, live);
      startWork();
    },
    () => {}, // Whoever asks for the collection is told.
  );
}

async function vectorsOf(of: Searchable): Promise<LiveVectors> {
  const live = opened.get(keyOf(of))?.live ?? (await opening.get(keyOf(of)));
  if (!live) throw new AnchorageError('NOT_FOUND', `There is no collection ${of.name}`, { field: 'collection' });
  return live;
}

function startWork(): void {
  if (working) return;
  working = true;
  setImmediate(work);
}

function work(): void {
  let more = false;
  for (const { live } of opened.values()) more = live.work(SLICE_MS) || more;
  if (performance.now() - reportedAtMs > REPORT_EVERY_MS || !more) {
    reportedAtMs = performance.now();
    for (const { of, live } of opened.values()) report(of, live);
  }
  working = more;
  if (more) setImmediate(work);
}

function post(event: SearcherEvent): void {
  parentPort!.postMessage({ event });
}

function report(of: Searchable, live: LiveVectors): void {
  post({ kind: 'state', ...of, state: live.state() });
}

async function close(key: string, discard = false): Promise<void> {
  const live = await opening.get(key);
  opening.delete(key);
  opened.delete(key);
  await (discard ? live?.discard() : live?.close());
}

async function useIdleTime(): Promise<void> {
  for (const [key, { of, live }] of opened) {
    const before = live.state().recallEstimate;
    await live.useIdleTime();
    if (opened.has(key) && live.state().recallEstimate !== before) report(of, live);
  }
  setTimeout(useIdleTime, IDLE_LOOK_EVERY_MS);
}
setTimeout(useIdleTime, IDLE_LOOK_EVERY_MS);

serveCalls<SearcherOperations>(parentPort!, {
  open,
  search: async ({ request, ...of }) => {
    const live = await vectorsOf(of);
    const answer = await live.search(request);
    startWork();
    return answer;
  },
  catchUp: async (of) => {
    const live = await vectorsOf(of);
    live.catchUp();
    startWork();
    return live.state();
  },
  compact: async (of) => {
    const rebuilt = (await vectorsOf(of)).compact();
    startWork();
    await rebuilt;
  },
  snapshot: async (of) => {
    const live = await vectorsOf(of);
    await live.snapshot();
    return live.state();
  },
  close: ({ discard, ...of }) => close(keyOf(of), discard),
  closeAll: async () => {
    for (const key of [...opening.keys()]) await close(key);
  },
});
