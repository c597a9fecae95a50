/**
 * The jobs on disk, as the main thread sees them: every call crosses to the store's thread and is answered when it is
 * durable. Listeners hear of events after they are on disk, in their order.
 */
import { EventEmitter } from 'node:events';
import { IndexThread } from '../index/thread-protocol.js';
import type { JobEvent } from './job.js';
import type { JobPatch, NewEvent, StoreOperations } from './store-operations.js';

export class JobStore {
  private readonly thread: IndexThread<StoreOperations>;
  private readonly heard = new EventEmitter().setMaxListeners(0);

  constructor(dataDir: string) {
    this.thread = new IndexThread('jobs/store-worker.js', { dataDir });
  }

  call<Name extends keyof StoreOperations & string>(
    operation: Name,
    argument: Parameters<StoreOperations[Name]>[0],
  ): Promise<ReturnType<StoreOperations[Name]>> {
    return this.thread.call(operation, argument);
  }

  /** Sets fields of a job and adds events to it in one commit, then tells who listens. */
  async update(id: string, patch: JobPatch, events: readonly NewEvent[] = []): Promise<void> {
    const written = await this.thread.call('update', { id, patch, events });
    for (const event of written) this.heard.emit(id, event);
  }

  /** @returns what ends the listening. */
  listen(id: string, listener: (event: JobEvent) => void): () => void {
    this.heard.on(id, listener);
    return () => this.heard.off(id, listener);
  }

  async close(): Promise<void> {
    await this.thread.call('close', {});
    await this.thread.terminate();
  }
}
