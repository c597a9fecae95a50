/**
 * Where a worker's compiled file lies. Threads cannot run TypeScript on Node 20, so sources that run as they are (under
 * vitest) start their workers from dist/, which `npm test` builds first.
 */
export function workerUrl(file: string): URL {
  const compiled = import.meta.url.endsWith('.js');
  return new URL(compiled ? `./${file}.js` : `../../dist/model/${file}.js`, import.meta.url);
}
