/**
 * POST /rerank: texts ordered by late interaction with a query, in TEI's shape. Token vectors are large (about 230 kB for a
 * passage of 150 tokens), so texts go through in groups, and scoring gives other requests a turn after each text.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Static, Type } from 'typebox';
import type { EmbedOptions, TokenEmbeddings } from '../../model/embedding-types.js';
import { promptFor } from '../../model/prompts.js';
import { maxSim } from '../../pooling/late-interaction.js';
import type { App } from '../app.js';
import { checkInputBounds, sumUsage, writeUsageHeaders } from '../embedding-request.js';
import { hangUpSignal } from '../hang-up.js';
import type { Parts } from '../parts.js';

const TEXTS_A_GROUP = 32;

const RerankBody = Type.Object({
  query: Type.String(),
  texts: Type.Array(Type.String()),
  raw_scores: Type.Optional(
    Type.Boolean({ description: 'the score itself, -1 to 1; otherwise it is mapped to 0 to 1' }),
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
        lane: 'query',
        truncate: truncate ?? true,
        normalize: true,
        signal: hangUpSignal(reply),
      } as const;
      const asked = await live.embedTokens([query], {
        ...shared,
        field: 'query',
        prompt: promptFor('query', undefined, live.manifest),
      });
      const options: EmbedOptions = {
        ...shared,
        field: 'texts',
        prompt: promptFor('document', undefined, live.manifest),
      };
      const usages: TokenEmbeddings[] = [asked];
      const scores: number[] = [];
      for (let at = 0; at < texts.length; at += TEXTS_A_GROUP) {
        const group = await live.embedTokens(texts.slice(at, at + TEXTS_A_GROUP), { ...options, firstIndex: at });
        for (const tokens of group.tokenVectors) {
          scores.push(maxSim(asked.tokenVectors[0]!, tokens, asked.dimensions));
          await nextTurn();
        }
        usages.push(group);
      }
      writeUsageHeaders(reply, live.manifest, sumUsage(usages));
      return scores
        .map((score, index) => ({
          index,
          score: raw_scores ? score : (1 + score) / 2,
          ...(return_text ? { text: texts[index]! } : {}),
        }))
        .sort((a, b) => b.score - a.score);
    },
  );
}
