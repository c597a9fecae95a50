/**
 * A close that ends. Node closes the connections that are idle when a server is told to close, but one that is being
 * answered then would stay open for its whole keep-alive time (72 s), longer than orchestrators wait before they kill.
 *
 * So while closing, an answer says `connection: close`; and where its head had been sent before, the connection is closed
 * once the answer is out.
 */
import type { FastifyInstance } from 'fastify';

export function registerClosing(app: FastifyInstance): void {
  let closing = false;
  app.addHook('preClose', async () => {
    closing = true;
  });
  app.addHook('onSend', async (_request, reply) => {
    if (closing) reply.header('connection', 'close');
  });
  app.addHook('onResponse', async () => {
    if (closing) app.server.closeIdleConnections();
  });
}
