/** reindex: embeds the stored texts of a collection by the live model, for one that holds another model's vectors. */

import type { ReindexParams } from '../params.js';
import { reindex } from '../reindex.js';
import type { Kind } from './kind.js';

export const reindexKind: Kind<ReindexParams> = {
  check({ collection }, { collections }) {
    collections.get(collection);
  },

  async run(context, { collection: name, textsPerSecond }) {
    const { collections, models, turn } = context.parts;
    const { signal, job } = context;
    const onProgress = ({ filled, of }: { filled: number; of: number }): void =>
      context.at('reindex', filled / Math.max(1, of), null, { filled, of });
    await turn.take(job.id, signal, () =>
      reindex(
        { collections, models },
        { name, embedder: models.live },
        { signal, onProgress, ...(textsPerSecond === undefined ? {} : { textsPerSecond }) },
      ),
    );
  },
};
