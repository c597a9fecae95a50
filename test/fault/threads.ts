/** Worker threads as they are started, so that tests can crash real ones. */
import type { Worker } from 'node:worker_threads';

const living = new Set<Worker>();
let deadly = false;

process.on('worker', (worker: Worker) => {
  living.add(worker);
  worker.once('exit', () => living.delete(worker));
  worker.once('message', () => {
    if (deadly) crash(worker);
  });
});

/** The threads that live now, oldest first. An embedder starts its inference threads before its tokenizer. */
export function livingThreads(): Worker[] {
  return [...living];
}

/**
 * Makes a thread die of an uncaught exception, with whatever it was asked and has not answered. (Worker.terminate would
 * cut it off inside a forward pass, and ONNX Runtime's binding then aborts the process.)
 */
export function crash(worker: Worker): Promise<void> {
  const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  worker.postMessage(null);
  return gone;
}

/** From now on every new thread crashes as soon as it is ready, until it is switched off. */
export function crashNewThreads(on: boolean): void {
  deadly = on;
}
