/** POST, GET, PATCH and DELETE of documents; POST takes JSON or NDJSON. */
import { type Static, Type } from 'typebox';
import { AnchorageError } from '../../errors.js';
import type { Collection } from '../../index/collection.js';
import { INCLUDES, type Include, type StoredDocument } from '../../index/document-reader.js';
import type { Filter } from '../../index/filter.js';
import type { App } from '../app.js';
import { DocumentSchema, embedDocuments, modelIdentity } from '../document-embedding.js';
import { modelId } from '../embedding-request.js';
import type { Parts } from '../parts.js';

export const DEFAULT_COLLECTION = 'default';

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
const GetQuery = Type.Object({ collection: CollectionField, include: Type.Optional(Type.String()) });

const schema = (summary: string, answer: object) => ({ tags: ['documents'], summary, response: { 200: answer } });
const Changed = (name: string) => Type.Object({ [name]: Type.Integer(), sequence: Type.Integer() });

export function documentRoutes(app: App, parts: Parts): void {
  const { collections, models } = parts;

  app.post<{ Body: Static<typeof UpsertBody> }>(
    '/documents',
    { schema: { ...schema('Store documents; answered when they are on disk', UpsertAnswer), body: UpsertBody } },
    async (request) => {
      const { collection: name = DEFAULT_COLLECTION, documents, prompt_name: promptName } = request.body;
      const { live } = models;
      refuseTooMany(documents.length, parts);
      const collection = await collectionToWrite(parts, name);
      const nameOf = (index: number): string => `documents[${index}]`;
      const ready = await embedDocuments(live, { documents, promptName, signal: request.signal, nameOf });
      return { ...(await collection.upsert(ready)), modelVersion: modelId(live.manifest) };
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

/** The first write makes the collection. @throws AnchorageError MODEL_MISMATCH where it holds another model's vectors. */
export async function collectionToWrite({ collections, models }: Parts, name: string): Promise<Collection> {
  const model = modelIdentity(models.live.manifest);
  const collection = collections.has(name) ? collections.get(name) : await collections.put(name, {}, model);
  collection.refuseOtherModel(model);
  return collection;
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
