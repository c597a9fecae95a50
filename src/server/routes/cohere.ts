/**
 * POST /v2/embed in Cohere's v2 shape. `input_type` search_query and search_document choose the model's prompts of those
 * roles. int8 and uint8 map a component of a unit vector from [-1, 1] to 255 steps; binary packs the signs of eight
 * dimensions into a byte, first dimension in the highest bit.
 */

import { randomUUID } from 'node:crypto';
import { type Static, Type } from 'typebox';
import { promptFor } from '../../model/prompts.js';
import type { App } from '../app.js';
import { vectorJson } from '../embedding-json.js';
import { checkDimensions, checkInputBounds, laneOf, writeUsageHeaders } from '../embedding-request.js';
import { hangUpSignal } from '../hang-up.js';
import type { Parts } from '../parts.js';
import { sendJsonPieces } from '../send-json.js';

/** What the model calls the roles that Cohere names otherwise. */
const ROLES: Readonly<Record<string, string>> = { search_query: 'query', search_document: 'document' };

const EMBEDDING_TYPES = ['float', 'int8', 'uint8', 'binary', 'ubinary'] as const;
type EmbeddingType = (typeof EMBEDDING_TYPES)[number];

const EmbedBody = Type.Object({
  model: Type.Optional(Type.String()),
  texts: Type.Array(Type.String()),
  input_type: Type.Optional(Type.Enum(['search_query', 'search_document', 'classification', 'clustering'])),
  embedding_types: Type.Optional(Type.Array(Type.Enum([...EMBEDDING_TYPES]), { minItems: 1 })),
  truncate: Type.Optional(Type.Enum(['NONE', 'START', 'END'])),
  output_dimension: Type.Optional(Type.Integer({ minimum: 1 })),
});

const Numbers = Type.Array(Type.Array(Type.Number()));
const EmbedAnswer = Type.Object({
  id: Type.String(),
  embeddings: Type.Object(Object.fromEntries(EMBEDDING_TYPES.map((type) => [type, Type.Optional(Numbers)]))),
  texts: Type.Array(Type.String()),
  meta: Type.Object({
    api_version: Type.Object({ version: Type.String() }),
    billed_units: Type.Object({ input_tokens: Type.Integer() }),
  }),
});

export function cohereRoutes(app: App, parts: Parts): void {
  app.post<{ Body: Static<typeof EmbedBody> }>(
    '/v2/embed',
    {
      config: { family: 'cohere' },
      schema: { tags: ['cohere'], summary: 'Embed texts', body: EmbedBody, response: { 200: EmbedAnswer } },
    },
    async (request, reply) => {
      const { texts, input_type, embedding_types = ['float'], truncate = 'END', output_dimension } = request.body;
      const { live } = parts.models;
      checkInputBounds(texts, 'texts', parts);
      checkDimensions(output_dimension, 'output_dimension', live.manifest);
      const embeddings = await live.embed(texts, {
        lane: laneOf(texts),
        normalize: true,
        prompt: promptFor(ROLES[input_type ?? ''] ?? input_type ?? '', undefined, live.manifest),
        truncate: truncate !== 'NONE',
        truncationDirection: truncate === 'START' ? 'left' : 'right',
        signal: hangUpSignal(reply),
        ...(output_dimension === undefined ? {} : { dimensions: output_dimension }),
      });
      writeUsageHeaders(reply, live.manifest, embeddings);
      const types = [...new Set(embedding_types as EmbeddingType[])];
      const { vectors, dimensions, tokens } = embeddings;
      const pieces = answerJson({ vectors, dimensions, tokens, types, texts });
      return sendJsonPieces(reply, pieces, vectors.length * 12 * types.length);
    },
  );
}

interface Answer {
  readonly vectors: Float32Array;
  readonly dimensions: number;
  readonly tokens: number;
  readonly types: readonly EmbeddingType[];
  readonly texts: readonly string[];
}

function* answerJson({ vectors, dimensions, tokens, types, texts }: Answer): Generator<Buffer> {
  yield Buffer.from(`{"id":"${randomUUID()}","embeddings":{`);
  for (const [position, type] of types.entries()) {
    yield Buffer.from(`${position > 0 ? ',' : ''}"${type}":[`);
    for (let start = 0; start < vectors.length; start += dimensions) {
      if (start > 0) yield Buffer.from(',');
      yield rowJson(vectors.subarray(start, start + dimensions), type);
    }
    yield Buffer.from(']');
  }
  const meta = { api_version: { version: '2' }, billed_units: { input_tokens: tokens } };
  yield Buffer.from(`},"texts":${JSON.stringify(texts)},"meta":${JSON.stringify(meta)}}`);
}

function rowJson(vector: Float32Array, type: EmbeddingType): Buffer {
  switch (type) {
    case 'float':
      return vectorJson(vector);
    case 'int8':
      return Buffer.from(JSON.stringify(Array.from(vector, toInt8)));
    case 'uint8':
      return Buffer.from(JSON.stringify(Array.from(vector, (value) => toInt8(value) + 128)));
    case 'binary':
      return Buffer.from(JSON.stringify(packSigns(vector).map((byte) => byte - 128)));
    case 'ubinary':
      return Buffer.from(JSON.stringify(packSigns(vector)));
  }
}

const toInt8 = (value: number): number => Math.max(-127, Math.min(127, Math.round(value * 127)));

/** One byte for eight dimensions, a bit set where the component is positive; the last byte is filled up with zeros. */
export function packSigns(vector: Float32Array): number[] {
  const bytes = new Array<number>(Math.ceil(vector.length / 8)).fill(0);
  for (let i = 0; i < vector.length; i++) if (vector[i]! > 0) bytes[i >> 3]! |= 0x80 >> (i & 7);
  return bytes;
}
