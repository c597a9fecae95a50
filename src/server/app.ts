/**
 * Builds the Fastify app out of its parts. It never listens, so tests can inject.
 *
 * The way of a request: size bound -> key or admin token -> JSON -> schema -> handler -> reply, with an error at any of
 * them rendered by error-replies.ts in the family of the route. docs/architecture.md draws it.
 */
import { maxHeaderSize } from 'node:http';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  LogController,
  type RawReplyDefaultExpression,
  type RawRequestDefaultExpression,
  type RawServerDefault,
} from 'fastify';
import { auditRoutes, registerAudit } from './audit.js';
import { registerAuth } from './auth.js';
import { registerClosing } from './closing.js';
import { answerError, registerErrorReplies } from './error-replies.js';
import { registerMediaTypes } from './media-types.js';
import { OPENAPI } from './openapi.js';
import type { Parts } from './parts.js';
import { registerRequestMetrics } from './request-metrics.js';
import { registerRequestTrace } from './request-trace.js';
import { adminModelRoutes } from './routes/admin-models.js';
import { anchorRoutes } from './routes/anchors.js';
import { cohereRoutes } from './routes/cohere.js';
import { collectionRoutes } from './routes/collections.js';
import { documentRoutes } from './routes/documents.js';
import { embedRoutes } from './routes/embed.js';
import { feedbackRoutes } from './routes/feedback.js';
import { healthRoutes } from './routes/health.js';
import { jobRoutes } from './routes/jobs.js';
import { openaiRoutes } from './routes/openai.js';
import { rerankRoutes } from './routes/rerank.js';
import { searchRoutes } from './routes/search.js';
import { snapshotRoutes } from './routes/snapshots.js';
import { tokenizeRoutes } from './routes/tokenize.js';

/** A Fastify app whose schemas give the types of its handlers. */
export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

export interface AppOptions {
  /** Where log lines go; absent: nowhere. */
  readonly logger?: FastifyBaseLogger;
}

export async function buildApp(parts: Parts, { logger }: AppOptions = {}): Promise<App> {
  const app: App = Fastify({
    ...(logger ? { loggerInstance: logger } : {}),
    bodyLimit: parts.config.bodyBytesMax,
    // As long as any path that Node takes: an id may have 512 bytes, and what is longer than a name may be, the routes say.
    routerOptions: { maxParamLength: maxHeaderSize },
    // request-metrics.ts logs a request once, by its route.
    logController: new LogController({ disableRequestLogging: true }),
    // Refuse rather than bend: a number is not silently made a string, a field that we do not know is named.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, verbose: true, allowUnionTypes: true } },
    frameworkErrors: answerError,
    schemaErrorFormatter: (errors) => Object.assign(new Error('schema'), { errors }),
  }).withTypeProvider<TypeBoxTypeProvider>();

  registerErrorReplies(app);
  registerClosing(app);
  registerRequestMetrics(app, parts.metrics);
  registerAudit(app, parts);
  if (parts.tracer) registerRequestTrace(app, parts.tracer);
  registerAuth(app, parts);
  registerMediaTypes(app);
  await app.register(swagger, OPENAPI);
  await app.register(swaggerUi, { routePrefix: '/docs' });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());

  healthRoutes(app, parts);
  embedRoutes(app, parts);
  anchorRoutes(app, parts);
  rerankRoutes(app, parts);
  tokenizeRoutes(app, parts);
  openaiRoutes(app, parts);
  cohereRoutes(app, parts);
  collectionRoutes(app, parts);
  documentRoutes(app, parts);
  searchRoutes(app, parts);
  feedbackRoutes(app, parts);
  snapshotRoutes(app, parts);
  adminModelRoutes(app, parts);
  jobRoutes(app, parts);
  auditRoutes(app, parts);
  return app;
}
