/**
 * Bodies of routes that read several media types. Fastify validates each by its own schema, and hands on unread what is of a
 * type that the route does not list; so such a route refuses that first, and its handler gets only what a schema has passed.
 */
import type { IncomingMessage } from 'node:http';
import type { preValidationHookHandler } from 'fastify';
import { AnchorageError } from '../errors.js';

export const JSON_TYPE = 'application/json';

/** @returns a hook for `preValidation`; whether there has to be a body is the handler's affair. */
export function refuseOtherThan(...listed: readonly string[]): preValidationHookHandler {
  return ({ body, mediaType = '' }, _reply, done) => {
    if (body === undefined || listed.includes(mediaType)) return done();
    const message = `a body of ${listed.join(' or ')} is expected, not of ${mediaType}`;
    done(new AnchorageError('UNSUPPORTED_MEDIA_TYPE', message));
  };
}

/** A body that its route's parser left in the socket. */
export const isStream = (body: unknown): body is IncomingMessage =>
  typeof (body as IncomingMessage | undefined)?.pipe === 'function';
