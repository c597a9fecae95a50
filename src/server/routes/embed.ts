/** POST /embed, /embed_all and /similarity: Text Embeddings Inference's own routes. Unknown fields are accepted, as TEI does. */

import type { FastifyReply } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Embeddings, EmbedOptions } from '../../model/embedding-types.js';
import type { Manifest } from '../../model/manifest.js';
import { promptNamed } from '../../model/prompts.js';
import type { App } from '../app.js';
import { cosinesTo } from '../cosines.js';
import { matrixJson } from '../embedding-json.js';
import {
  checkDimensions,
  checkInputBounds,
  InputsSchema,
  laneOf,
  listInputs,
  PoolingSchema,
  writeUsageHeaders,
} from '../embedding-request.js';
import { hangUpSignal } from '../hang-up.js';
import type { Parts } from '../parts.js';
import { sendJsonPieces } from '../send-json.js';

/** Bytes of one component in an answer, for deciding whether to stream. */
const BYTES_PER_COMPONENT = 12;

/** Asked for by Accept: little-endian float32, row after row, shape in the headers. A third of the bytes of JSON. */
const RAW_FLOATS = 'application/octet-stream';

const EmbedParameters = {
  truncate: Type.Optional(Type.Union([Type.Boolean(), Type.Null()], { description: 'true, false or null' })),
  truncation_direction: Type.Optional(Type.Enum(['right', 'left', 'Right', 'Left'])),
  prompt_name: Type.Optional(Type.Union([Type.String(), Type.Null()], { description: 'a string or null' })),
};

const EmbedBody = Type.Object({
  inputs: InputsSchema,
  normalize: Type.Optional(Type.Boolean({ description: 'scale to unit length; default true' })),
  dimensions: Type.Optional(
    Type.Union([Type.Integer({ minimum: 1 }), Type.Null()], { description: 'a positive integer or null' }),
  ),
  layers: Type.Optional(
    Type.Union([Type.Integer({ minimum: 1 }), Type.Null()], {
      description: "a positive integer or null: compute so many layers only, one of the model's exits (see /info)",
    }),
  ),
  pooling: Type.Optional(PoolingSchema),
  ...EmbedParameters,
});

const SimilarityBody = Type.Object({
  inputs: Type.Object({ source_sentence: Type.String(), sentences: Type.Array(Type.String()) }),
  parameters: Type.Optional(Type.Object(EmbedParameters)),
});

const Matrix = Type.Array(Type.Array(Type.Number()));
const schema = (summary: string, body: object, answer: object) => ({
  tags: ['embedding'],
  summary,
  body,
  response: { 200: answer },
});

export function embedRoutes(app: App, parts: Parts): void {
  /** Inputs within bounds, and the options of the body; the live embedder is read once, so that no answer mixes two. */
  const prepare = (body: Static<typeof EmbedBody>, reply: FastifyReply) => {
    const { live } = parts.models;
    const inputs = listInputs(body.inputs);
    checkInputBounds(inputs, 'inputs', parts);
    const options = { ...embedOptions(body, live.manifest), lane: laneOf(inputs), signal: hangUpSignal(reply) };
    return { live, inputs, options };
  };

  const routeEmbed = (url: string, hide: boolean): void => {
    app.post<{ Body: Static<typeof EmbedBody> }>(
      url,
      { schema: { ...schema('Embed texts', EmbedBody, Matrix), hide } },
      async (request, reply) => {
        const { live, inputs, options } = prepare(request.body, reply);
        const embeddings = await live.embed(inputs, options);
        writeUsageHeaders(reply, live.manifest, embeddings);
        const { vectors, dimensions } = embeddings;
        if (request.headers.accept === RAW_FLOATS) return sendRawFloats(reply, embeddings);
        return sendJsonPieces(reply, matrixJson(vectors, dimensions), vectors.length * BYTES_PER_COMPONENT);
      },
    );
  };
  routeEmbed('/embed', false);
  // Hugging Face's InferenceClient posts to the root of its endpoint, where TEI serves the task of its model.
  routeEmbed('/', true);

  app.post<{ Body: Static<typeof EmbedBody> }>(
    '/embed_all',
    { schema: schema('A vector a token', EmbedBody, Type.Array(Matrix)) },
    async (request, reply) => {
      const { live, inputs, options } = prepare(request.body, reply);
      const answer = await live.embedTokens(inputs, options);
      writeUsageHeaders(reply, live.manifest, answer);
      const components = answer.tokens * answer.dimensions;
      return sendJsonPieces(
        reply,
        matricesJson(answer.tokenVectors, answer.dimensions),
        components * BYTES_PER_COMPONENT,
      );
    },
  );

  app.post<{ Body: Static<typeof SimilarityBody> }>(
    '/similarity',
    { schema: schema('Cosine of one sentence to others', SimilarityBody, Type.Array(Type.Number())) },
    async (request, reply) => {
      const { inputs, parameters } = request.body;
      const { live } = parts.models;
      checkInputBounds(inputs.sentences, 'inputs.sentences', parts);
      checkInputBounds([inputs.source_sentence], 'inputs.source_sentence', parts);
      const options = embedOptions(parameters ?? {}, live.manifest);
      const texts = [inputs.source_sentence, ...inputs.sentences];
      const embeddings = await live.embed(texts, {
        ...options,
        normalize: true,
        lane: 'bulk',
        signal: hangUpSignal(reply),
      });
      writeUsageHeaders(reply, live.manifest, embeddings);
      const { vectors, dimensions } = embeddings;
      return cosinesTo(vectors.subarray(0, dimensions), vectors.subarray(dimensions));
    },
  );
}

type EmbedFields = Partial<Omit<Static<typeof EmbedBody>, 'inputs'>>;

/** TEI's snake_case fields as the embedder's options; an absent or null field leaves the default. */
function embedOptions(body: EmbedFields, manifest: Manifest): Omit<EmbedOptions, 'lane' | 'signal'> {
  const dimensions = body.dimensions ?? undefined;
  checkDimensions(dimensions, 'dimensions', manifest);
  return {
    prompt: promptNamed(body.prompt_name ?? undefined, manifest),
    truncate: body.truncate ?? true,
    truncationDirection: body.truncation_direction?.toLowerCase() === 'left' ? 'left' : 'right',
    normalize: body.normalize ?? true,
    ...(dimensions === undefined ? {} : { dimensions }),
    ...(body.layers ? { layers: body.layers } : {}),
    ...(body.pooling === undefined ? {} : { pooling: body.pooling }),
  };
}

function sendRawFloats(reply: FastifyReply, { vectors, count, dimensions }: Embeddings): FastifyReply {
  reply.headers({ 'x-embedding-count': count, 'x-embedding-dimensions': dimensions });
  return reply.type(RAW_FLOATS).send(Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength));
}

function* matricesJson(matrices: readonly Float32Array[], dimensions: number): Generator<Buffer> {
  const separator = Buffer.from(',');
  yield Buffer.from('[');
  for (const [index, matrix] of matrices.entries()) {
    if (index > 0) yield separator;
    yield* matrixJson(matrix, dimensions);
  }
  yield Buffer.from(']');
}
