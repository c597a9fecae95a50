/**
 * What every embedding route shares: reading inputs and options out of a body, and the headers that tell what they cost.
 * Always true here: bounds on the number and the length of texts hold before anything is tokenized.
 */
import type { FastifyReply } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Config } from '../config.js';
import { AnchorageError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import type { EmbedInput, EmbedUsage, Lane } from '../model/embedding-types.js';
import { type Manifest, modelId } from '../model/manifest.js';

/** One input or many, each a text or token ids, in the nesting that TEI and OpenAI share. */
export const InputsSchema = Type.Union(
  [
    Type.String(),
    Type.Array(Type.String()),
    Type.Array(Type.Integer({ minimum: 0 })),
    Type.Array(Type.Array(Type.Integer({ minimum: 0 }))),
  ],
  { description: 'a text, a list of texts, a list of token ids, or a list of lists of token ids' },
);

export const PoolingSchema = Type.Object(
  {
    mode: Type.Enum(['ata', 'mean', 'cls', 'last']),
    gamma: Type.Optional(Type.Number({ minimum: 0, maximum: 16, description: 'exponent of the received attention' })),
  },
  { additionalProperties: false, description: 'instead of the pooling of the model' },
);

/** @returns a list of inputs, also where the client sent a single one outside a list. */
export function listInputs(inputs: Static<typeof InputsSchema>): EmbedInput[] {
  if (typeof inputs === 'string') return [inputs];
  if (inputs.length > 0 && typeof inputs[0] === 'number') return [inputs as number[]];
  return inputs as string[] | number[][];
}

export interface InputBounds {
  readonly config: Pick<Config, 'textsPerRequestMax' | 'textCharactersMax'>;
  readonly metrics: Pick<Metrics, 'rejected'>;
}

/**
 * @param field what the route calls its inputs; errors name it.
 * @throws AnchorageError EMPTY_INPUT, PAYLOAD_TOO_LARGE
 */
export function checkInputBounds(inputs: readonly EmbedInput[], field: string, { config, metrics }: InputBounds): void {
  if (inputs.length === 0)
    throw new AnchorageError('EMPTY_INPUT', `"${field}" is empty; send at least one text`, { field });
  if (inputs.length > config.textsPerRequestMax) {
    metrics.rejected.inc({ reason: 'too_many_texts' });
    throw new AnchorageError(
      'PAYLOAD_TOO_LARGE',
      `"${field}" has ${inputs.length} texts; one request takes up to ${config.textsPerRequestMax}, so split it`,
      { field },
    );
  }
  const tooLong = inputs.findIndex((input) => input.length > config.textCharactersMax);
  if (tooLong < 0) return;
  throw new AnchorageError(
    'PAYLOAD_TOO_LARGE',
    `"${field}[${tooLong}]" has ${inputs[tooLong]!.length} characters; one text may have up to ${config.textCharactersMax}`,
    { field: `${field}[${tooLong}]` },
  );
}

/** A single text is somebody waiting for a query; a list is bulk work that can stand behind it. */
export const laneOf = (inputs: readonly EmbedInput[]): Lane => (inputs.length === 1 ? 'query' : 'bulk');

/** @throws AnchorageError VALIDATION where the model has fewer dimensions. */
export function checkDimensions(dimensions: number | undefined, field: string, manifest: Manifest): void {
  if (dimensions === undefined || dimensions <= manifest.dimensions) return;
  throw new AnchorageError('VALIDATION', `"${field}" is ${dimensions}; the model has ${manifest.dimensions}`, {
    field,
  });
}

/** What a request cost that was embedded in several steps, one after another. */
export function sumUsage(usages: readonly EmbedUsage[]): EmbedUsage {
  const sum = (of: (usage: EmbedUsage) => number): number => usages.reduce((total, usage) => total + of(usage), 0);
  return {
    tokenCounts: Int32Array.from(usages.flatMap((usage) => [...usage.tokenCounts])),
    tokens: sum((usage) => usage.tokens),
    characters: sum((usage) => usage.characters),
    truncated: sum((usage) => usage.truncated),
    timings: {
      tokenizationMs: sum((usage) => usage.timings.tokenizationMs),
      queueMs: sum((usage) => usage.timings.queueMs),
      inferenceMs: sum((usage) => usage.timings.inferenceMs),
    },
  };
}

/** Tells what a request cost, under TEI's names, and which model answered. Times are milliseconds. */
export function writeUsageHeaders(reply: FastifyReply, manifest: Manifest, usage: EmbedUsage): void {
  const { timings } = usage;
  reply.headers({
    'x-model-version': modelId(manifest),
    'x-compute-type': 'cpu',
    'x-compute-tokens': usage.tokens,
    'x-compute-characters': usage.characters,
    'x-truncated': usage.truncated,
    'x-total-time': Math.round(reply.elapsedTime),
    'x-tokenization-time': Math.round(timings.tokenizationMs),
    'x-queue-time': Math.round(timings.queueMs),
    'x-inference-time': Math.round(timings.inferenceMs),
  });
}
