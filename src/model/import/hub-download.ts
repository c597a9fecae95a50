/**
 * One file from a hub that speaks Hugging Face's routes, so that no byte is fetched twice: what has arrived lies in
 * `<target>.partial`, a further try asks for the rest by Range, and the file gets its name when its hash is the one that
 * the hub lists. A commit never changes, so a rest always fits its beginning.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { setTimeout as delay } from 'node:timers/promises';
import { downloadFile, HubApiError, type ListFileEntry } from '@huggingface/hub';
import { AnchorageError } from '../../errors.js';

const TRIES = 4;
const FIRST_DELAY_MS = 250;

export interface HubAccess {
  /** `org/name` */
  readonly name: string;
  /** `https://hub.example`, without a slash at the end; undefined for Hugging Face's own. */
  readonly endpoint: string | undefined;
  readonly token: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (progress: FileProgress) => void;
}

export interface FileProgress {
  readonly path: string;
  readonly receivedBytes: number;
  readonly totalBytes: number;
}

/** What every call of the hub's library takes. */
export function libraryParams({ name, endpoint, token, signal }: HubAccess) {
  return {
    repo: name,
    ...(endpoint && { hubUrl: endpoint }),
    ...(token && { accessToken: token }),
    fetch: rangeKeepingFetch(signal),
  };
}

/** Downloads `entry` of commit `revision` to `target`, unless it is there. */
export async function downloadHubFile(
  access: HubAccess,
  { entry, revision, target }: { entry: ListFileEntry; revision: string; target: string },
): Promise<void> {
  if (await sizeOf(target)) return;
  await mkdir(dirname(target), { recursive: true });
  const partial = `${target}.partial`;
  for (let attempt = 1; ; attempt++) {
    try {
      await fetchRest(access, { entry, revision, partial });
      break;
    } catch (error) {
      access.signal?.throwIfAborted();
      if (isFinal(error) || attempt === TRIES) throw stopped(entry, await sizeOf(partial), error);
      await delay(FIRST_DELAY_MS * 2 ** attempt, undefined, access.signal ? { signal: access.signal } : {});
    }
  }
  await verify(partial, entry);
  await rename(partial, target);
}

/** An answer that another try would get again: a refusal, unlike a busy or broken server or a lost connection. */
const isFinal = (error: unknown): boolean =>
  error instanceof AnchorageError ||
  (error instanceof HubApiError && error.statusCode < 500 && error.statusCode !== 429);

async function fetchRest(
  access: HubAccess,
  { entry, revision, partial }: { entry: ListFileEntry; revision: string; partial: string },
): Promise<void> {
  const { path, size: totalBytes } = entry;
  let receivedBytes = await sizeOf(partial);
  if (receivedBytes > totalBytes) {
    await truncate(partial, 0);
    receivedBytes = 0;
  }
  // Plain HTTP rather than the library's Xet protocol: mirrors speak it, too, and a rest can be asked for.
  const blob = await downloadFile({ ...libraryParams(access), path, revision, xet: false });
  if (!blob) throw new AnchorageError('NOT_FOUND', `${access.name} lists ${path} but does not have it`);
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      receivedBytes += chunk.length;
      access.onProgress({ path, receivedBytes, totalBytes });
      done(null, chunk);
    },
  });
  const rest = receivedBytes === 0 ? blob : blob.slice(receivedBytes);
  if (rest.size > 0) {
    const body = Readable.fromWeb(rest.stream() as ReadableStream);
    await pipeline(body, counted, createWriteStream(partial, { flags: 'a' }));
  }
  if (receivedBytes !== totalBytes) throw new Error(`${receivedBytes} of ${totalBytes} bytes came`);
}

/** Large files are listed with their SHA-256, small ones with the SHA-1 that git gives them. */
async function verify(partial: string, { path, size, lfs, oid }: ListFileEntry): Promise<void> {
  const hash = createHash(lfs ? 'sha256' : 'sha1');
  if (!lfs) hash.update(`blob ${size}\0`);
  await pipeline(createReadStream(partial), hash);
  const found = hash.digest('hex');
  const listed = lfs?.oid ?? oid;
  if (listed === undefined || found === listed) return;
  await rm(partial);
  throw new AnchorageError('MODEL_INVALID', `${path} came with hash ${found} where the hub lists ${listed}; try again`);
}

/** An answer to a Range that is not that range would corrupt what is there. */
function rangeKeepingFetch(signal: AbortSignal | undefined): typeof fetch {
  return async (url, init) => {
    const response = await fetch(url, signal ? { ...init, signal } : init);
    const asked = new Headers(init?.headers).has('range');
    if (asked && response.ok && response.status !== 206) throw new Error('the hub does not answer ranges of a file');
    return response;
  };
}

/** @param error also a text, which is what the library aborts a stream with */
function stopped({ path, size }: ListFileEntry, received: number, error: unknown): AnchorageError {
  if (error instanceof AnchorageError) return error;
  const { message, cause } = error instanceof Error ? error : new Error(String(error));
  const reason = cause instanceof Error && cause.message ? cause.message : message;
  return new AnchorageError(
    'NOT_FOUND',
    `the download of ${path} stopped at ${received} of ${size} bytes (${reason}); the same command goes on from there`,
    { cause: error },
  );
}

const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => undefined))?.size ?? 0;
