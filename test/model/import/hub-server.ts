/**
 * A hub on loopback that speaks Hugging Face's routes for one model: /api/models/…/revision, /api/models/…/tree and
 * /resolve with ranges. It can cut answers short, ask for a token, and lie.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { encoded, type FileContents } from './tiny-model.js';

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';

export interface HubBehaviour {
  readonly files: FileContents;
  /** Requests without this token get 401. */
  readonly token?: string;
  /** Cuts the connection of every answer about `path` after so many bytes, `times` times; some may never arrive. */
  readonly cut?: { readonly path: string; readonly afterBytes: number; times: number };
  /** Sends no more of an answer about `path` after so many bytes, `times` times, and keeps the connection. */
  readonly stall?: { readonly path: string; readonly afterBytes: number; times: number };
  /** Lists another hash than that of the content. */
  readonly wrongHash?: string;
  /** Called when an answer stalls. */
  readonly onStall?: () => void;
}

export interface HubServer {
  readonly endpoint: string;
  /** Requests for contents, as `path` or `path bytes=…`; the probing `bytes=0-0` is left out. */
  readonly contentRequests: string[];
  readonly authorizations: Set<string | undefined>;
  readonly cutConnections: () => void;
}

export async function startHub(behaviour: HubBehaviour): Promise<HubServer> {
  const contentRequests: string[] = [];
  const authorizations = new Set<string | undefined>();
  const server = createServer((request, response) => {
    authorizations.add(request.headers.authorization);
    const { pathname } = new URL(request.url!, 'http://hub');
    const resolved = `/some/tiny-model/resolve/${COMMIT}/`;
    if (behaviour.token && request.headers.authorization !== `Bearer ${behaviour.token}`) refuse(response, 401);
    else if (pathname === '/api/models/some/tiny-model/revision/main')
      reply(response, { id: 'some/tiny-model', sha: COMMIT });
    else if (pathname === `/api/models/some/tiny-model/tree/${COMMIT}`) reply(response, listing(behaviour));
    else if (!pathname.startsWith(resolved)) refuse(response, 404);
    else sendFile({ request, response, behaviour, contentRequests, path: pathname.slice(resolved.length) });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { endpoint, contentRequests, authorizations, cutConnections: () => server.closeAllConnections() };
}

/** As the hub does, large files with the SHA-256 of LFS and others with git's SHA-1. */
function listing({ files, wrongHash }: HubBehaviour): unknown[] {
  return Object.entries(files).map(([path, contents]) => {
    const bytes = encoded(contents);
    const size = bytes.length;
    const oid = createHash('sha1').update(`blob ${size}\0`).update(bytes).digest('hex');
    const sha256 = createHash('sha256')
      .update(path === wrongHash ? 'something else' : bytes)
      .digest('hex');
    return {
      type: 'file',
      path,
      size,
      oid,
      ...(path.includes('.onnx') && { lfs: { oid: sha256, size, pointerSize: 130 } }),
    };
  });
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly behaviour: HubBehaviour;
  readonly contentRequests: string[];
  readonly path: string;
}

function sendFile({ request, response, behaviour, contentRequests, path }: Exchange): void {
  const contents = behaviour.files[path];
  if (contents === undefined) {
    refuse(response, 404);
    return;
  }
  const bytes = encoded(contents);
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  const [first, last] = range
    ? [Number(range[1]), Math.min(Number(range[2]), bytes.length - 1)]
    : [0, bytes.length - 1];
  const probing = range !== null && Number(range[2]) === 0;
  if (!probing) contentRequests.push(range ? `${path} ${range[0]}` : path);
  const part = bytes.subarray(first, last + 1);
  response.writeHead(range ? 206 : 200, {
    etag: '"a"',
    'content-length': part.length,
    ...(range && { 'content-range': `bytes ${first}-${last}/${bytes.length}` }),
  });
  const { cut, stall } = behaviour;
  if (!probing && cut?.path === path && cut.times-- > 0) {
    response.write(part.subarray(0, cut.afterBytes), () => response.destroy());
  } else if (!probing && stall?.path === path && stall.times-- > 0) {
    response.write(part.subarray(0, stall.afterBytes), behaviour.onStall);
  } else {
    response.end(part);
  }
}

function reply(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error: 'refused' }));
}
