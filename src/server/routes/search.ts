/** POST /search: a query's text is embedded, then answered from one collection by vector, by words, or by both. */

import { type Static, Type } from 'typebox';
import { AnchorageError } from '../../errors.js';
import type { Collection } from '../../index/collection.js';
import { INCLUDES, type Include } from '../../index/document-reader.js';
import { mapVector, type QueryMap } from '../../index/query-map.js';
import { MODES, type Mode, type SearchRequest, type SearchResult } from '../../index/search-types.js';
import type { Embedder } from '../../model/embedder.js';
import { modelId } from '../../model/manifest.js';
import { promptFor } from '../../model/prompts.js';
import { AnchorSchema } from '../anchor-json.js';
import type { App } from '../app.js';
import { checkInputBounds, type InputBounds } from '../embedding-request.js';
import { hangUpSignal } from '../hang-up.js';
import { type LiveCollection, withLiveCollection } from '../live-collection.js';
import type { Parts } from '../parts.js';
import { type AnchorsByText, anchorsOfResults } from '../search-anchors.js';
import { CollectionField, DEFAULT_COLLECTION, DocumentJson, documentJson, FilterField } from './documents.js';

const Weights = Type.Object(
  { dense: Type.Optional(Type.Number({ minimum: 0 })), sparse: Type.Optional(Type.Number({ minimum: 0 })) },
  { additionalProperties: false },
);

const ANCHORS = 'anchors';

const SearchBody = Type.Object(
  {
    collection: CollectionField,
    query: Type.Optional(Type.String()),
    vector: Type.Optional(Type.Array(Type.Number())),
    queries: Type.Optional(
      Type.Array(Type.String(), { description: 'several queries at once, a list of results each' }),
    ),
    k: Type.Optional(Type.Integer({ description: 'results; default 10' })),
    mode: Type.Optional(Type.Enum([...MODES])),
    filter: FilterField,
    efSearch: Type.Optional(Type.Integer()),
    exact: Type.Optional(Type.Boolean()),
    minScore: Type.Optional(Type.Number()),
    include: Type.Optional(
      Type.Array(Type.Enum([...INCLUDES, ANCHORS]), {
        description: 'anchors are the tokens that a text hangs on most',
      }),
    ),
    fusion: Type.Optional(
      Type.Object(
        { method: Type.Enum(['weighted', 'rrf']), weights: Type.Optional(Weights) },
        {
          additionalProperties: false,
          description: 'of mode hybrid: weighted shares of the best scores (the default; dense 2, sparse 1), or ranks',
        },
      ),
    ),
    groupBy: Type.Optional(
      Type.Enum(['parent'], { description: 'documents with their best chunks, instead of chunks' }),
    ),
    prompt_name: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
);
type Body = Static<typeof SearchBody>;

const Scores = {
  score: Type.Number(),
  denseScore: Type.Optional(Type.Number({ description: 'cosine' })),
  sparseScore: Type.Optional(Type.Number({ description: 'BM25' })),
};
const Found = {
  ...DocumentJson.properties,
  ...Scores,
  anchors: Type.Optional(Type.Array(AnchorSchema, { description: 'the ten heaviest tokens, heaviest first' })),
};
const Result = Type.Object({ ...Found, chunks: Type.Optional(Type.Array(Type.Object(Found))) });
const Timings = Type.Object({}, { additionalProperties: true });
const Answer = Type.Object({
  results: Type.Array(Type.Union([Result, Type.Array(Result)])),
  modelVersion: Type.String(),
  queryMap: Type.Optional(
    Type.Object(
      { from: Type.String(), to: Type.String(), method: Type.String(), recallAt10: Type.Number() },
      {
        description:
          "the collection holds another model's vectors, and the query was mapped to them; recall@10 is against a collection that is embedded anew, on texts kept aside",
      },
    ),
  ),
  timingsMs: Timings,
  queryId: Type.Optional(Type.String({ description: 'for POST /feedback, where it is on' })),
  queryIds: Type.Optional(Type.Array(Type.Union([Type.String(), Type.Null()]), { description: 'one a query' })),
});

export function searchRoutes(app: App, parts: Parts): void {
  app.post<{ Body: Body }>(
    '/search',
    { schema: { tags: ['documents'], summary: 'Search a collection', body: SearchBody, response: { 200: Answer } } },
    async (request, reply) => {
      const { body } = request;
      const asked = queriesOf(body);
      if (asked.texts.length > 0 || body.queries) checkInputBounds(asked.texts, asked.field, parts);
      const context: Context = { body, signal: hangUpSignal(reply), bounds: parts };
      const name = body.collection ?? DEFAULT_COLLECTION;
      const answered = await withLiveCollection(parts, name, (live) => answer(live, asked, context));
      return { ...answered, ...remember(parts, name, { body, texts: asked.texts }) };
    },
  );
}

/** Takes note of what was asked, for deployments and, where it is on, for feedback. @returns the ids that feedback names. */
function remember(
  { feedback, recentQueries }: Parts,
  name: string,
  { body, texts }: { body: Body; texts: readonly string[] },
): { queryId?: string | undefined; queryIds?: (string | null)[] } {
  if (body.mode !== 'sparse') for (const text of texts) recentQueries.add(name, text);
  if (!feedback || texts.length === 0) return {};
  const ids = texts.map((text) => feedback.asked(name, text));
  return body.queries ? { queryIds: ids.map((id) => id ?? null) } : { queryId: ids[0] };
}

interface Context {
  readonly body: Body;
  readonly signal: AbortSignal;
  readonly bounds: InputBounds;
}

async function answer({ collection, embedder, queryMap }: LiveCollection, asked: Asked, context: Context) {
  const { body } = context;
  const started = performance.now();
  const own = await queryVectors(embedder, asked, context);
  const vectors = queryMap ? own.map((vector) => vector && mapVector(queryMap, vector)) : own;
  const embed = performance.now() - started;
  const answers = await Promise.all(
    vectors.map((vector, index) => collection.search(searchRequest(body, asked, { vector, index }, collection))),
  );
  const searched = performance.now();
  // The live model's weights would say nothing about vectors of another.
  const anchors =
    body.include?.includes(ANCHORS) && !queryMap
      ? await anchorsOfResults(
          embedder,
          answers.flatMap((one) => one.results),
          context,
        )
      : undefined;
  const shown = { anchors, text: (body.include ?? ['text']).includes('text') };
  const results = answers.map((one) => one.results.map((result) => resultJson(result, shown)));
  const timingsMs = { embed, ...(anchors ? { anchors: performance.now() - searched } : {}) };
  const by = { modelVersion: modelId(embedder.manifest), ...(queryMap ? { queryMap: queryMapJson(queryMap) } : {}) };
  if (body.queries)
    return { results, ...by, timingsMs: { ...timingsMs, queries: answers.map((one) => one.timingsMs) } };
  return { results: results[0]!, ...by, timingsMs: { ...timingsMs, ...answers[0]!.timingsMs } };
}

interface Asked {
  /** Empty where there is only a vector. */
  readonly texts: readonly string[];
  readonly field: string;
}

function queriesOf({ query, queries, vector }: Body): Asked {
  if (queries) {
    if (query === undefined && vector === undefined) return { texts: queries, field: 'queries' };
    throw refuse('queries', 'stands alone: leave out query and vector');
  }
  if (query !== undefined) return { texts: [query], field: 'query' };
  if (vector) return { texts: [], field: 'query' };
  throw refuse('query', 'a query, a vector or queries are expected');
}

/** One a query; undefined where the mode needs none. */
async function queryVectors(
  embedder: Embedder,
  { texts, field }: Asked,
  { body, signal }: { body: Body; signal: AbortSignal },
): Promise<(Float32Array | undefined)[]> {
  if (body.vector) return [Float32Array.from(body.vector)];
  if (body.mode === 'sparse') return texts.map(() => undefined);
  const prompt = promptFor('query', body.prompt_name, embedder.manifest);
  const lane = texts.length === 1 ? 'query' : 'bulk';
  const { vectors, dimensions } = await embedder.embed(texts, { lane, prompt, field, normalize: true, signal });
  return texts.map((_, index) => vectors.subarray(index * dimensions, (index + 1) * dimensions));
}

/** Hybrid unless there is nothing to be hybrid with. */
function modeOf(body: Body, asked: Asked, collection: Collection): Mode {
  return body.mode ?? (asked.texts.length > 0 && collection.settings.fullText ? 'hybrid' : 'dense');
}

function searchRequest(
  body: Body,
  asked: Asked,
  { vector, index }: { vector: Float32Array | undefined; index: number },
  collection: Collection,
): SearchRequest {
  const { k = 10, filter, efSearch, exact, minScore, fusion, groupBy } = body;
  const text = asked.texts[index];
  const given = { vector, text, filter, efSearch, exact, minScore, fusion, groupBy };
  const present = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...present, k, include: fetched(body), mode: modeOf(body, asked, collection) };
}

/** Anchors are of texts, so texts are fetched for them. */
function fetched({ include = ['text', 'metadata'] }: Body): Include[] {
  const parts = include.filter((part) => part !== ANCHORS);
  return parts.length < include.length && !parts.includes('text') ? [...parts, 'text'] : parts;
}

const queryMapJson = ({ from, to, method, heldOut }: QueryMap) => ({
  from: from.id,
  to: to.id,
  method,
  recallAt10: heldOut.recallAt10,
});

type ResultJson = Static<typeof Result>;

interface Shown {
  readonly anchors: AnchorsByText | undefined;
  readonly text: boolean;
}

function resultJson(result: SearchResult, shown: Shown): ResultJson {
  const { score, denseScore, sparseScore, chunks, ...document } = result;
  const { text, ...json } = documentJson(document);
  const anchors = chunks?.length || text === undefined ? undefined : shown.anchors?.get(text);
  return {
    ...json,
    ...(shown.text && text !== undefined ? { text } : {}),
    ...(anchors ? { anchors: [...anchors] } : {}),
    ...(chunks ? { chunks: chunks.map((chunk) => resultJson(chunk, shown)) } : {}),
    score,
    ...(denseScore === undefined ? {} : { denseScore }),
    ...(sparseScore === undefined ? {} : { sparseScore }),
  };
}

const refuse = (field: string, message: string): AnchorageError =>
  new AnchorageError('VALIDATION', `${field}: ${message}`, { field });
