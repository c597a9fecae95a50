/**
 * From documents as clients send them to documents with vectors: texts are embedded, long ones are cut into passages first
 * where that was asked for. Always true: a document that came with a vector is not embedded, and the order is kept.
 */

import { type Static, Type } from 'typebox';
import { AnchorageError } from '../errors.js';
import { type ChunkOptions, cutIntoPassages, type Passage } from '../index/chunking.js';
import type { ChunkInput, DocumentInput } from '../index/documents.js';
import type { Embedder } from '../model/embedder.js';
import type { EmbedOptions } from '../model/embedding-types.js';
import { checkText } from '../model/input.js';
import { promptFor, tokensBeside } from '../model/prompts.js';
import { situatedVectors } from '../model/situated-vectors.js';

const ChunkSchema = Type.Object(
  {
    maxTokens: Type.Integer({ minimum: 8, maximum: 8192, description: 'tokens of a passage' }),
    overlapTokens: Type.Optional(Type.Integer({ minimum: 0, maximum: 4096 })),
    situated: Type.Optional(
      Type.Boolean({ description: 'pool each passage from the hidden states of the text around it (late chunking)' }),
    ),
  },
  { additionalProperties: false },
);

export const DocumentSchema = Type.Object(
  {
    id: Type.Optional(Type.String()),
    text: Type.Optional(
      Type.String({ description: 'with something visible in it; left out where there is only a vector' }),
    ),
    vector: Type.Optional(Type.Array(Type.Number())),
    metadata: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), { description: 'up to 64 KiB of JSON, and 64 levels deep' }),
    ),
    chunk: Type.Optional(ChunkSchema),
  },
  { additionalProperties: false },
);
export type DocumentBody = Static<typeof DocumentSchema>;

export interface DocumentsToEmbed {
  readonly documents: readonly DocumentBody[];
  readonly promptName: string | undefined;
  readonly signal: AbortSignal;
  /** What the request calls a document, for errors: index -> `documents[3]`. */
  readonly nameOf: (index: number) => string;
}

/** @throws AnchorageError EMPTY_INPUT or VALIDATION naming the document. */
export async function embedDocuments(embedder: Embedder, request: DocumentsToEmbed): Promise<DocumentInput[]> {
  const { documents, nameOf } = request;
  for (const [index, document] of documents.entries()) checkDocumentBody(document, nameOf(index));
  const options: EmbedOptions = {
    lane: 'bulk',
    normalize: true,
    prompt: promptFor('document', request.promptName, embedder.manifest),
    signal: request.signal,
  };
  const plain = documents.filter(({ chunk, vector }) => !chunk && !vector);
  const [vectors, chunked] = await Promise.all([
    embedWhole(embedder, plain, options),
    Promise.all(documents.filter(({ chunk }) => chunk).map((document) => embedChunks(embedder, document, options))),
  ]);
  return documents.map((document) => {
    const { chunk, vector, ...kept } = document;
    if (chunk) return { ...kept, chunks: chunked.shift()!, ...embeddedAs(request.promptName, chunk.situated) };
    if (vector) return { ...kept, vector: Float32Array.from(vector) };
    return { ...kept, vector: vectors.shift()!, ...embeddedAs(request.promptName) };
  });
}

function embeddedAs(promptName: string | undefined, situated?: boolean): Pick<DocumentInput, 'embeddedAs'> {
  if (promptName === undefined && !situated) return {};
  return { embeddedAs: { ...(promptName === undefined ? {} : { promptName }), ...(situated ? { situated } : {}) } };
}

function checkDocumentBody({ text, vector, chunk }: DocumentBody, name: string): void {
  if (text === undefined && vector === undefined) {
    throw new AnchorageError('VALIDATION', `${name}: a text, a vector or both are expected`, { field: name });
  }
  if (chunk && vector) {
    throw new AnchorageError('VALIDATION', `${name}: chunk cuts and embeds a text; leave out the vector`, {
      field: name,
    });
  }
  if (chunk && text === undefined)
    throw new AnchorageError('VALIDATION', `${name}: chunk needs a text`, { field: name });
  if (chunk && (chunk.overlapTokens ?? 0) >= chunk.maxTokens) {
    const field = `${name}.chunk.overlapTokens`;
    throw new AnchorageError('VALIDATION', `${field}: less than maxTokens is expected`, { field });
  }
  // Beside a vector, too: one day another model will have to embed it.
  if (text !== undefined) checkText(text, `${name}.text`);
}

async function embedWhole(
  embedder: Embedder,
  documents: readonly DocumentBody[],
  options: EmbedOptions,
): Promise<Float32Array[]> {
  if (documents.length === 0) return [];
  const texts = documents.map(({ text }) => text!);
  const { vectors, dimensions } = await embedder.embed(texts, options);
  return texts.map((_, index) => vectors.slice(index * dimensions, (index + 1) * dimensions));
}

async function embedChunks(embedder: Embedder, document: DocumentBody, options: EmbedOptions): Promise<ChunkInput[]> {
  const text = document.text!;
  const { situated = false, ...chunk } = document.chunk!;
  const tokens = (await embedder.tokenize([text], { addSpecialTokens: false }))[0]!;
  const passages = cutIntoPassages(
    text,
    tokens.map(({ start }) => start!),
    withinModel(chunk, await tokensBeside(options.prompt ?? '', embedder)),
  );
  const vectors = situated
    ? await situatedVectors(embedder, text, passages, options)
    : await embedPassages(embedder, text, passages, options);
  return passages.map(({ start, stop }, index) => ({ start, stop, vector: vectors[index]! }));
}

async function embedPassages(
  embedder: Embedder,
  text: string,
  passages: readonly Passage[],
  options: EmbedOptions,
): Promise<Float32Array[]> {
  const bodies = passages.map(({ start, stop }) => ({ text: text.slice(start, stop) }));
  return embedWhole(embedder, bodies, options);
}

/** A passage must fit the model, or its end would be cut off unseen. @param room in tokens. */
function withinModel(chunk: { maxTokens: number; overlapTokens?: number }, room: number): ChunkOptions {
  const bounded = Math.min(chunk.maxTokens, room);
  return { maxTokens: bounded, overlapTokens: Math.min(chunk.overlapTokens ?? 0, bounded - 1) };
}
