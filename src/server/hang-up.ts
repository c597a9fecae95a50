/**
 * Whether the client is still there. Fastify's own request.signal listens to the request, which closes as soon as its body
 * has been read; the response closes unfinished only when the client has gone.
 */
import type { FastifyReply } from 'fastify';

/** Aborted when the client hangs up before its answer is complete. */
export function hangUpSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
