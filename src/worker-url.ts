/**
 * Where a worker thread's JavaScript lies. Node 20 cannot start a thread on a .ts file, so when the sources themselves run
 * (vitest), the thread runs the twin that `npm run build` put into dist/; `npm test` builds first.
 */
import { existsSync } from 'node:fs';

/** @param path of the compiled file below dist/, as `index/writer-worker.js`. */
export function workerUrl(path: string): URL {
  const runsFromSources = import.meta.url.endsWith('.ts');
  const url = new URL(runsFromSources ? `../dist/${path}` : `./${path}`, import.meta.url);
  if (runsFromSources && !existsSync(url)) throw new Error(`${url.pathname} is not built: run npm run build first`);
  return url;
}
