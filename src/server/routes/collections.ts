/** PUT, GET and DELETE /collections/{name}, GET /collections. */

import { type Static, Type } from 'typebox';
import { QUANTIZATIONS } from '../../index/collection-settings.js';
import { modelIdentity } from '../../model/manifest.js';
import type { App } from '../app.js';
import { CollectionJson, collectionJson } from '../collection-json.js';

import type { Parts } from '../parts.js';

const CollectionBody = Type.Object(
  {
    dimensions: Type.Optional(Type.Integer({ minimum: 1, description: 'of the codes in memory; default all' })),
    m: Type.Optional(Type.Integer({ description: 'HNSW links a node; default 16' })),
    efConstruction: Type.Optional(Type.Integer({ description: 'HNSW breadth while building; default 200' })),
    quantization: Type.Optional(Type.Enum([...QUANTIZATIONS])),
    oversample: Type.Optional(Type.Integer({ description: 'candidates by codes for each result wanted' })),
    fullText: Type.Optional(Type.Boolean({ description: 'index texts for BM25; default true' })),
    indexes: Type.Optional(Type.Array(Type.String(), { description: 'fields that filters name: metadata.lang' })),
    targetRecall: Type.Optional(Type.Number({ description: 'efSearch tunes itself to this recall@k' })),
  },
  { additionalProperties: false },
);

const NameParams = Type.Object({ name: Type.String() });
type Name = Static<typeof NameParams>;
const schema = (summary: string, answer: object) => ({ tags: ['documents'], summary, response: { 200: answer } });

export function collectionRoutes(app: App, { collections, models }: Parts): void {
  app.put<{ Params: Name; Body: Static<typeof CollectionBody> }>(
    '/collections/:name',
    { schema: { ...schema('Make a collection', CollectionJson), params: NameParams, body: CollectionBody } },
    async (request) => {
      const model = modelIdentity(models.live.manifest);
      const collection = await collections.put(request.params.name, request.body, model);
      return collectionJson(await collection.info());
    },
  );

  app.get(
    '/collections',
    { schema: schema('List collections', Type.Object({ collections: Type.Array(CollectionJson) })) },
    async () => {
      const infos = await Promise.all(collections.list().map((collection) => collection.info()));
      return { collections: infos.map(collectionJson) };
    },
  );

  app.get<{ Params: Name }>(
    '/collections/:name',
    { schema: { ...schema('Describe a collection', CollectionJson), params: NameParams } },
    async (request) => collectionJson(await collections.get(request.params.name).info()),
  );

  app.delete<{ Params: Name }>(
    '/collections/:name',
    {
      schema: {
        ...schema('Delete a collection and all that is in it', Type.Object({ deleted: Type.Boolean() })),
        params: NameParams,
      },
    },
    async (request) => ({ deleted: await collections.delete(request.params.name) }),
  );
}
