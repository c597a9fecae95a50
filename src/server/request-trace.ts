/**
 * The stages of a request that HTTP knows: `parse`, from its head to the handler (body, JSON, schema), and `serialize`,
 * from where the handler answers to the last byte. Registered only where a trace is written.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Tracer } from '../trace.js';

interface Seen {
  readonly request: number;
  readonly startMs: number;
  answeredMs: number;
}

export function registerRequestTrace(app: FastifyInstance, tracer: Tracer): void {
  const seen = new WeakMap<FastifyRequest, Seen>();
  app.addHook('onRequest', async (request) => {
    const startMs = performance.now();
    seen.set(request, { request: tracer.newRequest(), startMs, answeredMs: startMs });
  });
  app.addHook('preHandler', (request, _reply, done) => {
    const { request: number, startMs } = seen.get(request)!;
    const route = request.routeOptions.url ?? 'none';
    tracer.stage(number, 'parse', { startMs, endMs: performance.now() }, { method: request.method, route });
    tracer.during(number, done);
  });
  app.addHook('onSend', async (request) => {
    seen.get(request)!.answeredMs = performance.now();
  });
  app.addHook('onResponse', async (request, reply) => {
    const { request: number, answeredMs } = seen.get(request)!;
    const span = { startMs: answeredMs, endMs: performance.now() };
    tracer.stage(number, 'serialize', span, { status: reply.statusCode });
  });
}
