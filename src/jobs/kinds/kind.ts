/** A kind of job. */
import type { Job } from '../job.js';
import type { JobContext } from '../job-context.js';
import type { JobParts } from '../job-parts.js';

/** What a check may look at besides its params. */
export interface Queue {
  unfinished(): Promise<Job[]>;
}

export interface Kind<Params> {
  /** Refuses what cannot be, before it waits in the queue. @throws AnchorageError */
  check?(params: Params, parts: JobParts, queue: Queue): void | Promise<void>;
  /** Does it. Started again after the server's end, it goes on. @throws JobFailure; AnchorageError; Stopped. */
  run(context: JobContext, params: Params): Promise<void>;
}
