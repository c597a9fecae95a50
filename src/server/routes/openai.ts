/**
 * POST /v1/embeddings and GET /v1/models, in OpenAI's shapes. Any `model` is accepted, because clients send the name they
 * were written for; the answer names the model that really embedded.
 */

import { type Static, Type } from 'typebox';
import type { Embeddings } from '../../model/embedding-types.js';
import type { Manifest } from '../../model/manifest.js';
import { modelId } from '../../model/manifest.js';
import type { App } from '../app.js';
import { vectorJson } from '../embedding-json.js';
import {
  checkDimensions,
  checkInputBounds,
  InputsSchema,
  laneOf,
  listInputs,
  writeUsageHeaders,
} from '../embedding-request.js';
import { hangUpSignal } from '../hang-up.js';
import type { Parts } from '../parts.js';
import { sendJsonPieces } from '../send-json.js';

/** Vectors are joined as text up to about this length before they become bytes. */
const PIECE_CHARACTERS = 64 * 1024;

type EncodingFormat = 'float' | 'base64';

const EmbeddingsBody = Type.Object({
  input: InputsSchema,
  model: Type.Optional(Type.String()),
  dimensions: Type.Optional(
    Type.Union([Type.Integer({ minimum: 1 }), Type.Null()], { description: 'a positive integer or null' }),
  ),
  encoding_format: Type.Optional(Type.Enum(['float', 'base64'])),
  user: Type.Optional(Type.String()),
});

const EmbeddingsAnswer = Type.Object({
  object: Type.Literal('list'),
  data: Type.Array(
    Type.Object({
      object: Type.Literal('embedding'),
      index: Type.Integer(),
      embedding: Type.Union([
        Type.Array(Type.Number()),
        Type.String({ description: 'base64 of little-endian float32' }),
      ]),
    }),
  ),
  model: Type.String(),
  usage: Type.Object({ prompt_tokens: Type.Integer(), total_tokens: Type.Integer() }),
});

const ModelEntry = Type.Object({
  id: Type.String(),
  object: Type.Literal('model'),
  created: Type.Integer(),
  owned_by: Type.String(),
});

export function openaiRoutes(app: App, parts: Parts): void {
  const config = { family: 'openai' } as const;
  const tags = ['openai'];

  app.post<{ Body: Static<typeof EmbeddingsBody> }>(
    '/v1/embeddings',
    { config, schema: { tags, summary: 'Embed texts', body: EmbeddingsBody, response: { 200: EmbeddingsAnswer } } },
    async (request, reply) => {
      const { input, dimensions, encoding_format = 'float' } = request.body;
      const { live } = parts.models;
      const inputs = listInputs(input);
      checkInputBounds(inputs, 'input', parts);
      checkDimensions(dimensions ?? undefined, 'dimensions', live.manifest);
      const embeddings = await live.embed(inputs, {
        lane: laneOf(inputs),
        normalize: true,
        signal: hangUpSignal(reply),
        ...(dimensions ? { dimensions } : {}),
      });
      writeUsageHeaders(reply, live.manifest, embeddings);
      const sizeHint = embeddings.vectors.length * (encoding_format === 'float' ? 12 : 6);
      return sendJsonPieces(reply, answerJson(embeddings, encoding_format, live.manifest), sizeHint);
    },
  );

  app.get(
    '/v1/models',
    {
      config,
      schema: {
        tags,
        summary: 'The model that is served',
        response: { 200: Type.Object({ object: Type.Literal('list'), data: Type.Array(ModelEntry) }) },
      },
    },
    async () => ({ object: 'list' as const, data: [modelEntry(parts.models.live.manifest)] }),
  );
}

const modelEntry = (manifest: Manifest) => ({
  id: modelId(manifest),
  object: 'model' as const,
  created: 0,
  owned_by: 'anchorage',
});

function* answerJson(
  { vectors, dimensions, tokens }: Embeddings,
  format: EncodingFormat,
  manifest: Manifest,
): Generator<Buffer> {
  const count = vectors.length / dimensions;
  let text = '{"object":"list","data":[';
  for (let index = 0; index < count; index++) {
    const vector = vectors.subarray(index * dimensions, (index + 1) * dimensions);
    text += `${index > 0 ? ',' : ''}{"object":"embedding","index":${index},"embedding":`;
    text += `${format === 'float' ? vectorJson(vector).toString('latin1') : `"${base64(vector)}"`}}`;
    if (text.length < PIECE_CHARACTERS) continue;
    yield Buffer.from(text, 'latin1');
    text = '';
  }
  const usage = { prompt_tokens: tokens, total_tokens: tokens };
  yield Buffer.from(`${text}],"model":${JSON.stringify(modelId(manifest))},"usage":${JSON.stringify(usage)}}`);
}

/** Little-endian float32, which is the order of every machine that onnxruntime-node runs on. */
const base64 = (vector: Float32Array): string =>
  Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64');
