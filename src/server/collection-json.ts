/** A collection as the routes show it. */
import { Type } from 'typebox';
import type { CollectionInfo } from '../index/collection.js';

const ModelJson = Type.Object({ id: Type.String(), fingerprint: Type.String(), dimensions: Type.Integer() });

export const CollectionJson = Type.Object({
  name: Type.String(),
  documents: Type.Integer({ description: 'whole documents' }),
  chunks: Type.Integer(),
  vectors: Type.Integer(),
  sequence: Type.Integer({ description: 'number of the last change' }),
  model: ModelJson,
  generation: Type.Integer({ description: 'of the vectors that are searched: one model made them all' }),
  building: Type.Optional(
    Type.Object(
      {
        generation: Type.Integer(),
        model: ModelJson,
        filled: Type.Integer({ description: 'vectors that are there' }),
        waiting: Type.Integer({ description: 'texts still to be embedded' }),
        backlog: Type.Integer({ description: 'vectors that the new graph does not hold yet' }),
      },
      { description: 'the generation that is being filled by another model while this one is searched' },
    ),
  ),
  previous: Type.Optional(
    Type.Object(
      { generation: Type.Integer(), model: ModelJson },
      { description: 'the generation that can be gone back to' },
    ),
  ),
  createdAt: Type.String(),
  settings: Type.Object({
    dimensions: Type.Integer(),
    m: Type.Integer(),
    efConstruction: Type.Integer(),
    quantization: Type.String(),
    oversample: Type.Integer(),
    fullText: Type.Boolean(),
    indexes: Type.Array(Type.String()),
    targetRecall: Type.Optional(Type.Number()),
  }),
  index: Type.Object({
    bytes: Type.Integer({ description: 'codes and graph in memory' }),
    graphNodes: Type.Integer({ description: '0: every search is exact' }),
    tombstones: Type.Integer(),
    backlog: Type.Integer({ description: 'vectors searched exactly until the graph holds them' }),
    efSearch: Type.Integer(),
    recallEstimate: Type.Optional(Type.Number({ description: 'of sampled live queries, against exact search' })),
    rebuildProgress: Type.Optional(Type.Number({ description: '0 to 1 while the graph is built anew' })),
  }),
});

export function collectionJson(info: CollectionInfo) {
  const { bytes, graphNodes, tombstones, backlog, efSearch, recallEstimate, rebuildProgress } = info.index;
  const { targetRecall, indexes, ...settings } = info.settings;
  const { building, previous, ...rest } = info;
  return {
    ...rest,
    ...(building ? { building } : {}),
    ...(previous ? { previous } : {}),
    settings: { ...settings, indexes: [...indexes], ...(targetRecall === undefined ? {} : { targetRecall }) },
    index: {
      bytes,
      graphNodes,
      tombstones,
      backlog,
      efSearch,
      ...(recallEstimate === undefined ? {} : { recallEstimate }),
      ...(rebuildProgress === undefined ? {} : { rebuildProgress }),
    },
  };
}
