/**
 * Who may call what. API keys, when set, guard every route but health; the admin token guards /admin always. Always true
 * here: tokens are compared in constant time, over their SHA-256 so that not even their length shows, and no token is
 * ever logged or put into an error.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AnchorageError } from '../errors.js';
import type { Parts } from './parts.js';

/** Routes that answer without a key: what an orchestrator's probes ask. */
const OPEN_ROUTES = new Set(['/health', '/livez', '/readyz']);

export function registerAuth(app: FastifyInstance, parts: Pick<Parts, 'config' | 'adminToken' | 'metrics'>): void {
  const apiKeys = parts.config.apiKeys.map(sha256);
  const adminToken = sha256(parts.adminToken);

  app.addHook('onRequest', async (request) => {
    const route = request.routeOptions.url ?? request.url;
    if (OPEN_ROUTES.has(route)) return;
    const isAdmin = request.url.startsWith('/admin') || route.startsWith('/admin');
    const accepted = isAdmin ? [adminToken] : apiKeys;
    if (accepted.length === 0 || matchesAny(bearerToken(request), accepted)) return;
    parts.metrics.rejected.inc({ reason: 'unauthorized' });
    throw new AnchorageError(
      'UNAUTHORIZED',
      isAdmin
        ? 'this route needs the admin token: send it as "Authorization: Bearer <token>"'
        : 'this server needs an API key: send it as "Authorization: Bearer <key>"',
    );
  });
}

function bearerToken(request: FastifyRequest): string {
  const header = request.headers.authorization ?? '';
  return /^bearer /i.test(header) ? header.slice('bearer '.length).trim() : '';
}

/** Compares with every accepted digest whatever the outcome, so that time tells nothing. */
function matchesAny(token: string, accepted: readonly Buffer[]): boolean {
  const digest = sha256(token);
  let matches = false;
  for (const one of accepted) matches = timingSafeEqual(digest, one) || matches;
  return matches && token !== '';
}

const sha256 = (token: string): Buffer => createHash('sha256').update(token, 'utf8').digest();
