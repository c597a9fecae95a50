/**
 * What goes into a collection, and what is asked of it before it does. Always true of a checked document: its id is short
 * and printable, its vector has the collection's dimensions, finite values and length 1, its metadata is a JSON object of
 * bounded size and depth.
 */
import { randomUUID } from 'node:crypto';
import { AnchorageError } from '../errors.js';
import {
  CHUNKS_PER_DOCUMENT_MAX,
  DOCUMENTS_PER_UPSERT_MAX,
  ID_BYTES_MAX,
  METADATA_BYTES_MAX,
  METADATA_DEPTH_MAX,
  TEXT_CHARACTERS_MAX,
} from './limits.js';

export type Metadata = Readonly<Record<string, unknown>>;

/** A passage of a document's text, by character offsets: text.slice(start, stop). */
export interface ChunkInput {
  readonly start: number;
  readonly stop: number;
  readonly vector: Float32Array;
}

export interface DocumentInput {
  /** Absent: a UUID is made. */
  readonly id?: string;
  readonly text?: string;
  /** Of any length; stored with length 1, as scores are cosines. Absent only where chunks carry the vectors. */
  readonly vector?: Float32Array;
  readonly metadata?: Metadata;
  readonly chunks?: readonly ChunkInput[];
  /** What a later embedding of the same text must know; absent: the model's document prompt, the text alone. */
  readonly embeddedAs?: EmbeddedAs;
}

/** How a text was embedded, where it was not the usual way. */
export interface EmbeddedAs {
  readonly promptName?: string;
  /** Chunks are pooled from hidden states of the text around them. */
  readonly situated?: boolean;
}

export interface CheckedDocument {
  readonly id: string;
  readonly text: string | undefined;
  readonly vector: Float32Array | undefined;
  /** JSON text. */
  readonly metadata: string;
  /** JSON text of EmbeddedAs. */
  readonly embeddedAs: string | null;
  readonly chunks: readonly ChunkInput[];
}

const refuse = (field: string, message: string): AnchorageError =>
  new AnchorageError('VALIDATION', `${field}: ${message}`, { field });

/**
 * @param vectorDimensions what the collection's model makes.
 * @throws AnchorageError VALIDATION naming the field: `documents[3].vector`.
 */
export function checkDocuments(documents: readonly DocumentInput[], vectorDimensions: number): CheckedDocument[] {
  if (documents.length === 0) throw refuse('documents', 'at least one is expected');
  if (documents.length > DOCUMENTS_PER_UPSERT_MAX) {
    const message = `documents: ${documents.length} in one request, at most ${DOCUMENTS_PER_UPSERT_MAX}; send the rest in another, or NDJSON`;
    throw new AnchorageError('PAYLOAD_TOO_LARGE', message, { field: 'documents' });
  }
  const checked = documents.map((document, index) => checkDocument(document, `documents[${index}]`, vectorDimensions));
  refuseTwins(checked);
  return checked;
}

function checkDocument(document: DocumentInput, at: string, dimensions: number): CheckedDocument {
  const { text } = document;
  if (text !== undefined) checkText(text, `${at}.text`);
  const chunks = document.chunks ?? [];
  if (document.vector === undefined && chunks.length === 0) {
    throw refuse(`${at}.vector`, 'a vector, or chunks with vectors, is expected');
  }
  return {
    id: document.id === undefined ? randomUUID() : checkId(document.id, `${at}.id`),
    text,
    vector: document.vector && unitVector(document.vector, `${at}.vector`, dimensions),
    metadata: checkMetadata(document.metadata ?? {}, `${at}.metadata`),
    embeddedAs: document.embeddedAs ? JSON.stringify(document.embeddedAs) : null,
    chunks: checkChunks(chunks, text, at, dimensions),
  };
}

export function checkId(id: string, at: string): string {
  if (id === '' || Buffer.byteLength(id) > ID_BYTES_MAX) throw refuse(at, `1 to ${ID_BYTES_MAX} bytes are expected`);
  if (/[\p{Cc}\p{Surrogate}]/u.test(id)) throw refuse(at, 'control characters and lone surrogates are not allowed');
  return id;
}

function checkText(text: string, at: string): void {
  if (text.length > TEXT_CHARACTERS_MAX) {
    const message = `${at}: ${text.length} characters, at most ${TEXT_CHARACTERS_MAX}; split the text`;
    throw new AnchorageError('PAYLOAD_TOO_LARGE', message, { field: at });
  }
  // SQLite ends a string at NUL, and UTF-8 has no lone surrogates: either would come back changed.
  if (/[\0\p{Surrogate}]/u.test(text)) throw refuse(at, 'NUL and lone surrogates are not allowed');
}

/** @returns JSON text of at most METADATA_BYTES_MAX bytes. */
export function checkMetadata(metadata: Metadata, at: string): string {
  if (isDeeperThan(METADATA_DEPTH_MAX, metadata)) throw refuse(at, `nested deeper than ${METADATA_DEPTH_MAX} levels`);
  const json = JSON.stringify(metadata);
  const bytes = Buffer.byteLength(json);
  if (bytes > METADATA_BYTES_MAX) throw refuse(at, `${bytes} bytes of JSON, at most ${METADATA_BYTES_MAX}`);
  return json;
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(levels - 1, inner));
}

function checkChunks(
  chunks: readonly ChunkInput[],
  text: string | undefined,
  at: string,
  dimensions: number,
): ChunkInput[] {
  if (chunks.length > 0 && text === undefined)
    throw refuse(`${at}.text`, 'chunks need the text that they are cut from');
  if (chunks.length > CHUNKS_PER_DOCUMENT_MAX) {
    throw refuse(`${at}.chunks`, `${chunks.length} chunks, at most ${CHUNKS_PER_DOCUMENT_MAX}; split the text`);
  }
  return chunks.map(({ start, stop, vector }, index) => ({
    start,
    stop,
    vector: unitVector(vector, `${at}.chunks[${index}].vector`, dimensions),
  }));
}

/**
 * @returns the values themselves where the length is 1 already (so that they come back bit for bit), else scaled; with a
 *   buffer of their own, as a message to a thread copies the whole buffer behind a view.
 * @throws AnchorageError VALIDATION for wrong dimensions, NaN, Infinity, or a length of 0.
 */
export function unitVector(vector: Float32Array, at: string, dimensions: number): Float32Array {
  if (vector.length !== dimensions) {
    throw refuse(at, `${vector.length} dimensions, where the collection has ${dimensions}`);
  }
  let sum = 0;
  for (const value of vector) sum += value * value;
  if (!Number.isFinite(sum)) throw refuse(at, 'NaN, Infinity or values too large to square');
  if (sum === 0) throw refuse(at, 'the zero vector points nowhere');
  if (Math.abs(sum - 1) < 1e-5) return vector.byteLength === vector.buffer.byteLength ? vector : vector.slice();
  const length = Math.sqrt(sum);
  return vector.map((value) => value / length);
}

function refuseTwins(documents: readonly CheckedDocument[]): void {
  const seen = new Map<string, number>();
  for (const [index, { id }] of documents.entries()) {
    const first = seen.get(id);
    if (first !== undefined) throw refuse(`documents[${index}].id`, `the same as documents[${first}].id: ${id}`);
    seen.set(id, index);
  }
}
