/**
 * Who changed what through /admin: a JSON line a request in `<dataDir>/audit.jsonl`, appended and never rewritten. Reading is
 * not written down; refused tries are, so that guessing at the admin token shows. No token and no body is in it.
 */
import { appendFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { App } from './app.js';
import type { Parts } from './parts.js';

export const auditFile = (dataDir: string): string => join(dataDir, 'audit.jsonl');

const READ_BYTES_MAX = 4 * 1024 * 1024;
const SHOWN_CHARACTERS_MAX = 200;

export function registerAudit(app: FastifyInstance, { config }: Pick<Parts, 'config'>): void {
  const file = auditFile(config.dataDir);
  // One append after the other: lines never mix, and stand in the order of the answers.
  let writing: Promise<void> = Promise.resolve();

  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? request.url.split('?')[0]!;
    if (!route.startsWith('/admin') || request.method === 'GET' || request.method === 'HEAD') return;
    const line = {
      at: new Date().toISOString(),
      request: request.id,
      from: request.ip,
      method: request.method,
      route,
      ...whatOf(request),
      status: reply.statusCode,
      ...locationOf(reply.getHeader('location')),
    };
    writing = writing
      .then(() => appendFile(file, `${JSON.stringify(line)}\n`, { mode: 0o600, flush: true }))
      .catch((error: Error) => request.log.error({ err: error }, 'the audit log could not be written'));
    await writing;
  });
  app.addHook('onClose', async () => writing);
}

/** The names in the path, and what kind of job was asked for. */
function whatOf({ params, body }: FastifyRequest): object {
  const named = Object.entries((params ?? {}) as Record<string, string>);
  const shown = Object.fromEntries(named.map(([name, value]) => [name, value.slice(0, SHOWN_CHARACTERS_MAX)]));
  const type = (body as { type?: unknown } | undefined)?.type;
  return {
    ...(named.length > 0 ? { params: shown } : {}),
    ...(typeof type === 'string' ? { type: type.slice(0, SHOWN_CHARACTERS_MAX) } : {}),
  };
}

const locationOf = (location: unknown): object => (typeof location === 'string' ? { location } : {});

const Entry = Type.Object({}, { additionalProperties: true });

export function auditRoutes(app: App, { config }: Parts): void {
  app.get(
    '/admin/audit',
    {
      schema: {
        tags: ['admin'],
        security: [{ bearer: [] }],
        summary: 'What was changed through /admin, newest first',
        response: { 200: Type.Object({ entries: Type.Array(Entry) }) },
      },
    },
    async () => ({ entries: await lastEntries(auditFile(config.dataDir)) }),
  );
}

/** Whole lines of the file's end. */
async function lastEntries(path: string): Promise<object[]> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!file) return [];
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - READ_BYTES_MAX);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
    const lines = buffer.subarray(0, bytesRead).toString('utf8').split('\n');
    const whole = start === 0 ? lines : lines.slice(1);
    return whole
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as object)
      .reverse();
  } finally {
    await file.close();
  }
}
