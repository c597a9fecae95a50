/**
 * Media types of bodies. Fastify validates a body by the schema of its type, and hands on unread what is of a type that the
 * route does not list; so that is refused first, and a handler gets only what a schema has passed.
 */
import type { IncomingMessage } from 'node:http';
import { AnchorageError } from '../errors.js';
import type { App } from './app.js';

export const JSON_TYPE = 'application/json';
const JSON_ALONE = { [JSON_TYPE]: {} };

/** Every route takes JSON, or the types that its schema lists; whether there has to be a body is its own affair. */
export function registerMediaTypes(app: App): void {
  app.addHook('preValidation', ({ body, mediaType = '', routeOptions }, _reply, done) => {
    const schema = routeOptions.schema?.body as { content?: object } | undefined;
    const listed = schema?.content ?? JSON_ALONE;
    if (body === undefined || !schema || Object.hasOwn(listed, mediaType)) return done();
    const message = `a body of ${Object.keys(listed).join(' or ')} is expected, not of ${mediaType}`;
    done(new AnchorageError('UNSUPPORTED_MEDIA_TYPE', message));
  });
}

/** A body that its route's parser left in the socket. */
export const isStream = (body: unknown): body is IncomingMessage =>
  typeof (body as IncomingMessage | undefined)?.pipe === 'function';
