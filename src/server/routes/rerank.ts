/** POST /rerank: texts ordered by their similarity to a query, in TEI's shape. */
import { type Static, Type } from 'typebox';
import type { App } from '../app.js';
import { cosinesTo } from '../cosines.js';
import { checkInputBounds, promptNamed, writeUsageHeaders } from '../embedding-request.js';
import { hangUpSignal } from '../hang-up.js';
import type { Parts } from '../parts.js';

const RerankBody = Type.Object({
  query: Type.String(),
  texts: Type.Array(Type.String()),
  raw_scores: Type.Optional(
    Type.Boolean({ description: 'the cosine itself; otherwise it is mapped from [-1, 1] to [0, 1]' }),
  ),
  return_text: Type.Optional(Type.Boolean()),
  truncate: Type.Optional(Type.Union([Type.Boolean(), Type.Null()], { description: 'true, false or null' })),
});

const Rank = Type.Object({ index: Type.Integer(), score: Type.Number(), text: Type.Optional(Type.String()) });

export function rerankRoutes(app: App, parts: Parts): void {
  app.post<{ Body: Static<typeof RerankBody> }>(
    '/rerank',
    {
      schema: {
        tags: ['embedding'],
        summary: 'Order texts by their similarity to a query, best first',
        body: RerankBody,
        response: { 200: Type.Array(Rank) },
      },
    },
    async (request, reply) => {
      const { query, texts, raw_scores = false, return_text = false, truncate } = request.body;
      const { live } = parts.models;
      checkInputBounds(texts, 'texts', parts);
      checkInputBounds([query], 'query', parts);
      const shared = {
        truncate: truncate ?? true,
        normalize: true,
        lane: 'query',
        signal: hangUpSignal(reply),
      } as const;
      const prompts = live.manifest.prompts;
      const [asked, found] = await Promise.all([
        live.embed([query], { ...shared, prompt: 'query' in prompts ? promptNamed('query', live.manifest) : '' }),
        live.embed(texts, { ...shared, prompt: 'document' in prompts ? promptNamed('document', live.manifest) : '' }),
      ]);
      writeUsageHeaders(reply, live.manifest, found);
      const cosines = cosinesTo(asked.vectors, found.vectors);
      return cosines
        .map((cosine, index) => ({
          index,
          score: raw_scores ? cosine : (1 + cosine) / 2,
          ...(return_text ? { text: texts[index]! } : {}),
        }))
        .sort((a, b) => b.score - a.score);
    },
  );
}
