/**
 * Which model version is live, on disk: `live` of jobs.sqlite. A deployment's one commit is the change of this entry; what a
 * start serves follows from it alone, so a crash at any moment leaves the old model or the new one.
 */
import type { JobStore } from './job-store.js';

export interface LiveEntry {
  /** The setting --model at that time: an operator who changes it afterwards means what he says, and this entry is passed over. */
  readonly configured: string;
  /** name@version */
  readonly model: string;
  /** What answered before, and can be gone back to; undefined where it was let go. */
  readonly previous: string | undefined;
  /** The job that made it so. */
  readonly job: string;
}

const KEY = 'live';

/** @returns undefined where nothing was deployed, or --model was changed since. */
export async function readLive(store: JobStore, configured: string): Promise<LiveEntry | undefined> {
  const entry = (await store.call('readMeta', { key: KEY })) as LiveEntry | undefined;
  return entry?.configured === configured ? entry : undefined;
}

/** Durable when it resolves. */
export const commitLive = (store: JobStore, entry: LiveEntry): Promise<void> =>
  store.call('writeMeta', { key: KEY, value: entry });

/** What a start serves: the version that was deployed last, else the configured one. */
export const startingModel = async (store: JobStore, configured: string): Promise<string> =>
  (await readLive(store, configured))?.model ?? configured;
