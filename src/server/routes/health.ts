/** Health, information and metrics. Ready means that a real forward pass succeeded lately, not that a port is open. */

import { Type } from 'typebox';
import { AnchorageError } from '../../errors.js';
import { modelId } from '../../model/manifest.js';
import { VERSION } from '../../version.js';
import type { App } from '../app.js';

import type { Parts } from '../parts.js';

/** How long a forward pass vouches for the model; an older one is repeated. */
const FORWARD_PASS_AGE_MAX_MS = 30_000;

const Nullable = (description: string) => Type.Union([Type.String(), Type.Null()], { description });
const Info = Type.Object({
  model_id: Type.String(),
  model_sha: Nullable('fingerprint of graph, tokenizer and pooling'),
  model_dtype: Type.String(),
  model_type: Type.Object({ embedding: Type.Object({ pooling: Type.String() }) }),
  max_concurrent_requests: Type.Integer(),
  max_input_length: Type.Integer({ description: 'tokens of a text' }),
  max_batch_tokens: Type.Integer(),
  max_batch_requests: Type.Union([Type.Integer(), Type.Null()], {
    description: 'always null: batches are bounded by tokens',
  }),
  max_client_batch_size: Type.Integer({ description: 'texts of a request' }),
  auto_truncate: Type.Boolean(),
  tokenization_workers: Type.Integer(),
  version: Type.String(),
  sha: Nullable('always null'),
  docker_label: Nullable('always null'),
  modelName: Type.String(),
  modelVersion: Type.String(),
  fingerprint: Type.String(),
  pooling: Type.Object({ mode: Type.String(), gamma: Type.Optional(Type.Number()) }),
  dimensions: Type.Integer(),
  matryoshkaDimensions: Type.Array(Type.Integer()),
  exits: Type.Array(
    Type.Object(
      { layers: Type.Integer(), dimensions: Type.Array(Type.Integer()) },
      { description: 'for /embed `layers`' },
    ),
  ),
  prompts: Type.Record(Type.String(), Type.String()),
  quantization: Type.String(),
  batchInvariant: Type.Boolean(),
  engine: Type.String({ description: 'what computes the forward passes: onnxruntime, native-amx or native-vnni' }),
});

export function healthRoutes(app: App, parts: Parts): void {
  const tags = ['operation'];
  app.get('/livez', { schema: { tags, summary: 'The process answers' } }, async () => ({ status: 'live' }));
  for (const url of ['/health', '/readyz']) {
    app.get(url, { schema: { tags, summary: 'The model answers: a forward pass succeeded lately' } }, async () => {
      const { live } = parts.models;
      const { ready, problem, lastForwardPassMs = Number.POSITIVE_INFINITY } = live.health();
      if (!ready) throw new AnchorageError('UNHEALTHY', problem ?? 'the model is not ready', { retryAfterSeconds: 1 });
      if (lastForwardPassMs > FORWARD_PASS_AGE_MAX_MS) await live.probe();
      return { status: 'ready', model: modelId(live.manifest) };
    });
  }

  app.get('/metrics', { schema: { tags, summary: 'Prometheus metrics' } }, async (_request, reply) => {
    const { registry } = parts.metrics;
    return reply.type(registry.contentType).send(await registry.metrics());
  });

  app.get('/info', { schema: { tags, summary: "TEI's information and ours", response: { 200: Info } } }, async () => {
    const { config, models } = parts;
    const { manifest } = models.live;
    return {
      model_id: manifest.name,
      model_sha: manifest.fingerprint,
      model_dtype: manifest.quantization,
      model_type: { embedding: { pooling: manifest.pooling.mode } },
      max_concurrent_requests: config.queueTextsMax,
      max_input_length: manifest.maxTokens,
      max_batch_tokens: config.batchTokensMax,
      max_batch_requests: null,
      max_client_batch_size: config.textsPerRequestMax,
      auto_truncate: true,
      tokenization_workers: 1,
      version: VERSION,
      sha: null,
      docker_label: null,
      modelName: manifest.name,
      modelVersion: manifest.version,
      fingerprint: manifest.fingerprint,
      pooling: manifest.pooling,
      dimensions: manifest.dimensions,
      matryoshkaDimensions: manifest.matryoshkaDimensions,
      exits: manifest.exits ?? [],
      prompts: manifest.prompts,
      quantization: manifest.quantization,
      batchInvariant: manifest.batchInvariant,
      engine: models.live.engine,
    };
  });
}
