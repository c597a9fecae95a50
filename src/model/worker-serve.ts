/** The worker's end of the protocol: announces itself, then answers one request after the other. */
import { parentPort, type Transferable, workerData } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import { type Answer, type Envelope, type Fault, STOP, type Started } from './worker-messages.js';

export interface Served<Request, Reply, Info> {
  readonly info: Info;
  /** An error thrown here is the request's alone; the thread lives on. */
  answer(request: Request): Promise<{ reply: Reply; transfer: readonly Transferable[] }>;
}

/** Runs a worker thread: `start` gets the thread's workerData. */
export async function serve<Data, Request, Reply, Info>(
  start: (data: Data) => Promise<Served<Request, Reply, Info>>,
): Promise<void> {
  const port = parentPort;
  if (!port) throw new TypeError('this file runs as a worker thread only');
  try {
    const served = await start(workerData as Data);
    port.on('message', async (message: Envelope<Request> | typeof STOP) => {
      if (message === STOP) return port.close();
      const { id, request } = message;
      try {
        const { reply, transfer } = await served.answer(request);
        port.postMessage({ id, reply } satisfies Answer<Reply>, transfer);
      } catch (error) {
        port.postMessage({ id, fault: faultOf(error) } satisfies Answer<Reply>);
      }
    });
    port.postMessage({ info: served.info } satisfies Started<Info>);
  } catch (error) {
    port.postMessage({ fault: faultOf(error) } satisfies Started<Info>);
    port.close();
  }
}

function faultOf(error: unknown): Fault {
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof AnchorageError)) return { message };
  return { message, code: error.code, ...(error.field === undefined ? {} : { field: error.field }) };
}
