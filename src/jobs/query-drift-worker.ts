/** Fits a map in a thread of its own, as it takes seconds. */
import { parentPort, workerData } from 'node:worker_threads';
import { AnchorageError } from '../errors.js';
import type { FitRequest } from './map-queries.js';
import { fitQueryMap } from './query-drift.js';

const { models, texts } = workerData as FitRequest;
try {
  parentPort!.postMessage(fitQueryMap(models, texts));
} catch (error) {
  if (!(error instanceof AnchorageError)) throw error;
  parentPort!.postMessage({ problem: error.message });
}
