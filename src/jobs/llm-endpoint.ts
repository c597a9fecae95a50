/**
 * Where a job may send prompts, and with them passages and a key: only below the base URLs that the operator listed. Without
 * that, a job's parameter could make the server ask any host that it can reach, and hand it a key of its environment.
 */
import { AnchorageError } from '../errors.js';
import type { SynthesisParams } from './params.js';

const FIELD = 'llm.baseUrl';

/** URL takes a backslash for a slash and drops some white space; the trainer's Python, which sends the key, does neither. */
const READ_IN_TWO_WAYS = /[\\\s\p{Cc}]/u;

/**
 * @param allowed base URLs, as `--job-llm-urls` has them.
 * @returns the base URL as it was read here, to be handed on instead of what was written; undefined where none is needed.
 * @throws AnchorageError VALIDATION
 */
export function checkLlmEndpoint(
  { provider, llm }: Pick<SynthesisParams, 'provider' | 'llm'>,
  allowed: readonly string[],
): string | undefined {
  const baseUrl = llm?.baseUrl;
  if (provider !== 'openai' && baseUrl === undefined) return undefined;
  if (baseUrl === undefined) throw refuse('is needed by the provider openai');
  if (READ_IN_TWO_WAYS.test(baseUrl)) {
    throw refuse(`${JSON.stringify(baseUrl)} has a backslash, white space or a control character; write it without`);
  }
  if (!URL.canParse(baseUrl)) throw refuse(`${JSON.stringify(baseUrl)} is no URL`);
  const url = new URL(baseUrl);
  // isBelow has looked at these two parts, and that the others are empty.
  if (allowed.some((one) => URL.canParse(one) && isBelow(url, new URL(one)))) return `${url.origin}${url.pathname}`;
  const listed = allowed.length === 0 ? 'and none is listed' : `which lists ${allowed.join(', ')}`;
  throw refuse(`${baseUrl} is not below a base URL of --job-llm-urls, ${listed}`);
}

/** Of one origin, and in the same folder or under it; URL has resolved `..` and letter case by now. */
function isBelow(url: URL, base: URL): boolean {
  const folder = (path: string): string => (path.endsWith('/') ? path : `${path}/`);
  const isPlain = url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  return isPlain && url.origin === base.origin && folder(url.pathname).startsWith(folder(base.pathname));
}

const refuse = (problem: string): AnchorageError =>
  new AnchorageError('VALIDATION', `params.${FIELD}: ${problem}`, { field: `params.${FIELD}` });
