/**
 * How an error reaches a client: each route family renders the one error in its own shape.
 *
 *   anchorage (and TEI)  {"error": message, "error_type": TEI's type, "code": ours, "field"?: path}
 *   openai               {"error": {"message", "type", "param", "code"}}
 *   cohere               {"message"}
 *
 * Always true here: a client's fault is a 4xx with a message of ours; a programmer's fault is a 500 whose message says
 * nothing of the inside, while the log has the stack under the request id that the reply carries.
 */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { AnchorageError, ERRORS, type ErrorCode } from '../errors.js';
import { describeSchemaErrors, type SchemaError } from './schema-errors.js';

export type RouteFamily = 'anchorage' | 'openai' | 'cohere';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whose error shape the route answers in; default 'anchorage'. */
    family?: RouteFamily;
  }
}

/** Also of what Fastify refuses before there is a route, such as a path whose percent-encoding is broken. */
export function answerError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const known = toAnchorageError(error, request);
  if (known.code === 'INTERNAL') request.log.error({ err: error }, 'request failed');
  else request.log.debug({ code: known.code, field: known.field, reason: known.message }, 'request refused');
  return sendError(known, request, reply);
}

export function registerErrorReplies(app: FastifyInstance): void {
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((request, reply) => {
    const message = `no route ${request.method} ${request.url.split('?')[0]}; /docs lists the routes`;
    return sendError(new AnchorageError('NOT_FOUND', message), request, reply);
  });
}

function sendError(error: AnchorageError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error.retryAfterSeconds !== undefined)
    reply.header('retry-after', Math.max(1, Math.ceil(error.retryAfterSeconds)));
  if (error.status === 401) reply.header('www-authenticate', 'Bearer');
  const family = familyOf(request);
  // OpenAI and Cohere answer every malformed request with 400; 422 would reach their SDKs as another error class.
  const status = family !== 'anchorage' && error.status === 422 ? 400 : error.status;
  return reply
    .code(status)
    .type('application/json; charset=utf-8')
    .send(JSON.stringify(render(error, family)));
}

function render(error: AnchorageError, family: RouteFamily): object {
  const { message, code, field } = error;
  switch (family) {
    case 'anchorage':
      return { error: message, error_type: ERRORS[code].teiType, code, ...(field === undefined ? {} : { field }) };
    case 'openai':
      return { error: { message, type: openaiType(error.status), param: field ?? null, code: code.toLowerCase() } };
    case 'cohere':
      return { message };
  }
}

function openaiType(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 && status !== 424 ? 'invalid_request_error' : 'server_error';
}

function familyOf(request: FastifyRequest): RouteFamily {
  const declared = request.routeOptions?.config?.family;
  if (declared) return declared;
  return request.url.startsWith('/v1/') ? 'openai' : request.url.startsWith('/v2/') ? 'cohere' : 'anchorage';
}

/** Fastify's own refusals, in our table. */
const FASTIFY_CODES: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_EMPTY_JSON_BODY: 'EMPTY_BODY',
  FST_ERR_CTP_INVALID_JSON_BODY: 'INVALID_JSON',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_BODY_TOO_LARGE: 'PAYLOAD_TOO_LARGE',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'INVALID_JSON',
};

function toAnchorageError(error: FastifyError, request: FastifyRequest): AnchorageError {
  if (error instanceof AnchorageError) return error;
  if (error.validation) {
    if (request.body === undefined && error.validationContext === 'body') {
      return new AnchorageError('EMPTY_BODY', 'the request has no body; send JSON with content-type: application/json');
    }
    const { message, field } = describeSchemaErrors(error.validation as readonly SchemaError[]);
    return new AnchorageError('VALIDATION', message, { ...(field === '' ? {} : { field }), cause: error });
  }
  const code = FASTIFY_CODES[error.code];
  if (code === 'PAYLOAD_TOO_LARGE') {
    const bound = request.routeOptions.bodyLimit;
    return new AnchorageError(code, `the body has more than ${bound} bytes; split it, or raise BODY_BYTES_MAX`);
  }
  if (code) return new AnchorageError(code, error.message, { cause: error });
  if (error instanceof SyntaxError && error.statusCode === 400) {
    return new AnchorageError('INVALID_JSON', `the body is not valid JSON: ${error.message}`, { cause: error });
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return new AnchorageError('VALIDATION', error.message, { cause: error });
  }
  return new AnchorageError('INTERNAL', `something went wrong here; the log has it as request ${request.id}`);
}
