/**
 * Paths that a job is given, held inside the data directory: neither "..", nor an absolute path, nor a link may lead out.
 * The check looks at what lies there now; it is made when the job is accepted and again when it runs.
 */
import { existsSync, mkdirSync, realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { AnchorageError } from '../errors.js';

/**
 * @param given relative to the data directory, or absolute inside it.
 * @param field what the request calls it, for errors.
 * @returns the absolute path, links resolved.
 * @throws AnchorageError VALIDATION where it leads outside or, with `mustExist`, where nothing is there.
 */
export function dataPath(dataDir: string, given: string, field: string, { mustExist = true } = {}): string {
  mkdirSync(dataDir, { recursive: true });
  const root = realpathSync(dataDir);
  const wanted = isAbsolute(given) ? given : resolve(root, given);
  const found = given.includes('\0') ? undefined : resolveLinks(wanted);
  const isInside = found === root || found?.startsWith(root + sep);
  if (!isInside) {
    const message = `${field}: ${JSON.stringify(given)} leads out of the data directory; put what a job reads below it`;
    throw new AnchorageError('VALIDATION', message, { field });
  }
  if (mustExist && !existsSync(found!)) {
    throw new AnchorageError('VALIDATION', `${field}: there is no ${given} in the data directory`, { field });
  }
  return found!;
}

/** As artifacts name it: relative to the data directory, with forward slashes. */
export const artifactPath = (dataDir: string, path: string): string =>
  relative(realpathSync(dataDir), existsSync(path) ? realpathSync(path) : path)
    .split(sep)
    .join('/');

/** Resolves the links of the part of a path that exists; the rest is taken as it stands. */
function resolveLinks(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const parent = dirname(path);
  if (parent === path) return path;
  return join(resolveLinks(parent), path.slice(parent.length).replace(/^[/\\]/, ''));
}
