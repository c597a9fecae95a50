/** A collection as the routes show it. */
import { Type } from 'typebox';
import type { CollectionInfo } from '../index/collection.js';

export const CollectionJson = Type.Object({
  name: Type.String(),
  documents: Type.Integer({ description: 'whole documents' }),
  chunks: Type.Integer(),
  vectors: Type.Integer(),
  sequence: Type.Integer({ description: 'number of the last change' }),
  model: Type.Object({ id: Type.String(), fingerprint: Type.String(), dimensions: Type.Integer() }),
  generation: Type.Integer({ description: 'rises when the collection is re-embedded' }),
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
  return {
    ...info,
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
