/** POST, GET, PATCH and DELETE of documents; POST takes JSON or NDJSON. */

import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { AnchorageError } from '../../errors.js';
import { INCLUDES, type Include, type StoredDocument } from '../../index/document-reader.js';
import type { Filter } from '../../index/filter.js';
import { modelId } from '../../model/manifest.js';
import type { App } from '../app.js';
import { DocumentSchema } from '../document-embedding.js';
import { ingest, type Progress } from '../document-stream.js';
import { hangUpSignal } from '../hang-up.js';
import { storeDocuments } from '../live-collection.js';
import { isStream, JSON_TYPE } from '../media-types.js';
import type { Parts } from '../parts.js';

export const DEFAULT_COLLECTION = 'default';
const NDJSON = 'application/x-ndjson';
const PROGRESS_EVERY_MS = 1000;

export const CollectionField = Type.Optional(Type.String({ description: `default: ${DEFAULT_COLLECTION}` }));
export const FilterField = Type.Optional(
  Type.Record(Type.String(), Type.Unknown(), { description: '{field: value}, operators, $and, $or, $not' }),
);
export const IncludeField = Type.Optional(Type.Array(Type.Enum([...INCLUDES])));

const UpsertBody = Type.Object(
  {
    collection: CollectionField,
    documents: Type.Array(DocumentSchema),
    prompt_name: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
);
const UpsertAnswer = Type.Object({
  ids: Type.Array(Type.String()),
  upserted: Type.Integer(),
  sequence: Type.Integer(),
  modelVersion: Type.String(),
});

const SelectionFields = {
  collection: CollectionField,
  ids: Type.Optional(Type.Array(Type.String())),
  filter: FilterField,
};
const DeleteBody = Type.Object(SelectionFields, { additionalProperties: false });
const PatchBody = Type.Object(
  {
    ...SelectionFields,
    metadata: Type.Record(Type.String(), Type.Unknown(), { description: 'merged in; null removes a field (RFC 7396)' }),
  },
  { additionalProperties: false },
);
const QueryBody = Type.Object(
  {
    ...SelectionFields,
    limit: Type.Optional(Type.Integer()),
    cursor: Type.Optional(Type.String()),
    include: IncludeField,
  },
  { additionalProperties: false },
);

export const DocumentJson = Type.Object({
  id: Type.String(),
  text: Type.Optional(Type.String()),
  metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  vector: Type.Optional(Type.Array(Type.Number())),
  parent: Type.Optional(Type.String({ description: 'of a chunk: the id of its document' })),
  start: Type.Optional(Type.Integer({ description: "of a chunk: where it begins in its document's text" })),
  stop: Type.Optional(Type.Integer()),
});
const StreamQuery = Type.Object({ collection: CollectionField, prompt_name: Type.Optional(Type.String()) });
const GetQuery = Type.Object({ collection: CollectionField, include: Type.Optional(Type.String()) });

const schema = (summary: string, answer: object) => ({ tags: ['documents'], summary, response: { 200: answer } });
const Changed = (name: string) => Type.Object({ [name]: Type.Integer(), sequence: Type.Integer() });

export function documentRoutes(app: App, parts: Parts): void {
  const { collections } = parts;

  // Left in the socket: document-stream.ts reads it line by line.
  app.addContentTypeParser(NDJSON, (_request, stream, done) => done(null, stream));

  app.post<{ Body: Static<typeof UpsertBody> | IncomingMessage | undefined; Querystring: Static<typeof StreamQuery> }>(
    '/documents',
    {
      schema: {
        tags: ['documents'],
        summary: 'Store documents; answered when they are on disk',
        description: 'JSON, or NDJSON of any length with a document a line, answered by a line of progress a second',
        querystring: StreamQuery,
        body: { content: { [JSON_TYPE]: { schema: UpsertBody }, [NDJSON]: { schema: {} } } },
        response: { 200: { content: { [JSON_TYPE]: { schema: UpsertAnswer }, [NDJSON]: { schema: {} } } } },
      },
    },
    async (request, reply) => {
      if (isStream(request.body)) return storeLines(parts, request, reply);
      if (!request.body) throw new AnchorageError('EMPTY_BODY', 'the request has no body; send JSON or NDJSON');
      const { collection: name = DEFAULT_COLLECTION, documents, prompt_name: promptName } = request.body;
      refuseTooMany(documents.length, parts);
      const nameOf = (index: number): string => `documents[${index}]`;
      const signal = hangUpSignal(reply);
      const stored = await storeDocuments(parts, { name, documents, promptName, signal, nameOf });
      const { embedder, ...upserted } = stored;
      return { ...upserted, modelVersion: modelId(embedder.manifest) };
    },
  );

  app.get<{ Params: { id: string }; Querystring: Static<typeof GetQuery> }>(
    '/documents/:id',
    { schema: { ...schema('Get one document', DocumentJson), querystring: GetQuery } },
    async (request) => {
      const { collection: name = DEFAULT_COLLECTION, include } = request.query;
      const { id } = request.params;
      const [found] = await collections.get(name).get([id], includesOf(include));
      if (found) return documentJson(found);
      throw new AnchorageError('NOT_FOUND', `There is no document ${id} in collection ${name}`, { field: 'id' });
    },
  );

  app.post<{ Body: Static<typeof QueryBody> }>(
    '/documents/query',
    {
      schema: {
        ...schema(
          'A page of documents, oldest first',
          Type.Object({ documents: Type.Array(DocumentJson), cursor: Type.Optional(Type.String()) }),
        ),
        body: QueryBody,
      },
    },
    async (request) => {
      const { collection: name = DEFAULT_COLLECTION, ...query } = request.body;
      const { documents, cursor } = await collections.get(name).query(query);
      return { documents: documents.map(documentJson), ...(cursor === undefined ? {} : { cursor }) };
    },
  );

  app.patch<{ Body: Static<typeof PatchBody> }>(
    '/documents',
    { schema: { ...schema('Merge metadata into documents', Changed('updated')), body: PatchBody } },
    async (request) => {
      const { collection: name = DEFAULT_COLLECTION, metadata, ...selection } = request.body;
      return collections.get(name).patchMetadata(selectionOf(selection), metadata);
    },
  );

  app.delete<{ Body: Static<typeof DeleteBody> }>(
    '/documents',
    { schema: { ...schema('Delete documents', Changed('deleted')), body: DeleteBody } },
    async (request) => {
      const { collection: name = DEFAULT_COLLECTION, ...selection } = request.body;
      return collections.get(name).delete(selectionOf(selection));
    },
  );
}

type StreamRequest = FastifyRequest<{ Body: unknown; Querystring: Static<typeof StreamQuery> }>;

/** A refusal before anything is stored is an HTTP error; one after is the last line, beside what was stored. */
async function storeLines(parts: Parts, request: StreamRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { collection: name = DEFAULT_COLLECTION, prompt_name: promptName } = request.query;
  const body = request.body as IncomingMessage;
  const progress = ingest(parts, { body, name, promptName, signal: hangUpSignal(reply) });
  const first = await progress.next();
  const lines = progressLines(first, progress, modelId(parts.models.live.manifest));
  return reply.type(NDJSON).send(Readable.from(lines, { objectMode: false }));
}

/** At most a line a second: a client that reads nothing before it has sent all must not fill the socket. */
async function* progressLines(
  first: IteratorResult<Progress>,
  rest: AsyncGenerator<Progress>,
  modelVersion: string,
): AsyncGenerator<string> {
  let last: Progress = first.done ? { line: 0, upserted: 0, sequence: 0, modelVersion } : first.value;
  let saidAtMs = 0;
  try {
    for (let next = first; !next.done; next = await rest.next()) {
      last = next.value;
      if (performance.now() - saidAtMs < PROGRESS_EVERY_MS) continue;
      saidAtMs = performance.now();
      yield `${JSON.stringify(last)}\n`;
    }
    yield `${JSON.stringify({ done: true, ...last })}\n`;
  } catch (error) {
    if (!(error instanceof AnchorageError)) throw error;
    const { message, code, field } = error;
    yield `${JSON.stringify({ done: false, ...last, error: message, code, ...(field === undefined ? {} : { field }) })}\n`;
  }
}

function refuseTooMany(count: number, { config, metrics }: Parts): void {
  if (count <= config.textsPerRequestMax) return;
  metrics.rejected.inc({ reason: 'too_many_texts' });
  const message = `"documents" has ${count}; one request takes up to ${config.textsPerRequestMax}, so split it, or send NDJSON`;
  throw new AnchorageError('PAYLOAD_TOO_LARGE', message, { field: 'documents' });
}

function includesOf(list: string | undefined): Include[] {
  if (list === undefined) return ['text', 'metadata'];
  const asked = list.split(',').filter((one) => one !== '');
  const unknown = asked.find((one) => !(INCLUDES as readonly string[]).includes(one));
  if (unknown === undefined) return asked as Include[];
  const message = `include: "${unknown}" is none of ${INCLUDES.join(', ')}`;
  throw new AnchorageError('VALIDATION', message, { field: 'include' });
}

const selectionOf = ({ ids, filter }: { ids?: string[] | undefined; filter?: Filter | undefined }) => ({
  ...(ids ? { ids } : {}),
  ...(filter ? { filter } : {}),
});

export const documentJson = ({ vector, ...document }: StoredDocument) => ({
  ...document,
  ...(vector ? { vector: Array.from(vector) } : {}),
});
