/**
 * Situated passages (late chunking) against plain ones on a judged set of paragraphs with titles: nDCG@10 of /search's own
 * answer grouped by document, with the paired bootstrap's interval of the difference. Two ways to store the set:
 *
 *   paragraphs   each paragraph is a document, cut into passages; a query wants the paragraph
 *   articles     each article (the paragraphs of one title, in order) is a document, cut into passages; a passage stands for
 *                the paragraph that it lies in most, and a query wants that paragraph: here the text around matters
 *
 *   npm run bench -- retrieval-chunks --set DIR [--tokens 64,128] [--queries 2000] [--keep]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import type { Collection } from '../src/index/collection.js';
import { Collections } from '../src/index/collections.js';
import type { Mode, SearchResult } from '../src/index/search-types.js';
import { createMetrics } from '../src/metrics.js';
import { modelIdentity } from '../src/model/manifest.js';
import { promptFor } from '../src/model/prompts.js';
import { ModelRegistry } from '../src/model/registry.js';
import { embedDocuments } from '../src/server/document-embedding.js';
import { type JudgedDocument, ndcgAtK, readSet } from './judged-sets.js';
import { pairedDifference } from './paired-bootstrap.js';
import { keep } from './report.js';

const { values } = parseArgs({
  options: {
    set: { type: 'string' },
    tokens: { type: 'string', default: '64,128' },
    queries: { type: 'string', default: '2000' },
    keep: { type: 'boolean', default: false },
  },
});
if (!values.set) throw new Error('--set DIR is needed: a set in BEIR layout whose documents have titles');

const K = 10;
/** Passages looked at, so that ten paragraphs are among them. */
const PASSAGES = 60;
const MODES: readonly Mode[] = ['dense', 'hybrid'];
const SEPARATOR = '\n\n';

interface Stored {
  readonly id: string;
  readonly text: string;
}

/** Where paragraphs lie in an article's text. */
interface Span {
  readonly id: string;
  readonly start: number;
  readonly stop: number;
}

interface Layout {
  readonly documents: readonly Stored[];
  /** The judged paragraphs that a search found, best first. */
  readonly found: (
    collection: Collection,
    request: { vector: Float32Array; text: string; mode: Mode },
  ) => Promise<string[]>;
}

const set = readSet(values.set, Number(values.queries));
const config = readConfig({ argv: [], env: {} }) as Config;
const models = await ModelRegistry.open({ ...config, metrics: createMetrics() });
const dataDir = mkdtempSync(join(tmpdir(), 'anchorage-bench-'));
const collections = await Collections.open({ dataDir, metrics: createMetrics() });
const { live } = models;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const paragraphs: Layout = {
  documents: set.documents.map(({ id, body }) => ({ id, text: body })),
  found: async (collection, request) => {
    const { results } = await collection.search({ ...request, k: K, include: [], groupBy: 'parent' });
    return results.map(({ id }) => id);
  },
};

function articles(): Layout {
  const byTitle = new Map<string, JudgedDocument[]>();
  for (const document of set.documents) {
    byTitle.set(document.title, [...(byTitle.get(document.title) ?? []), document]);
  }
  const spans = new Map<string, Span[]>();
  const documents = [...byTitle.values()].map((members, n) => {
    const id = `article-${n}`;
    spans.set(id, spansOf(members));
    return { id, text: members.map(({ body }) => body).join(SEPARATOR) };
  });
  const found: Layout['found'] = async (collection, request) => {
    const { results } = await collection.search({ ...request, k: PASSAGES, include: [] });
    return [...new Set(results.map((result) => paragraphOf(result, spans)))].slice(0, K);
  };
  return { documents, found };
}

function spansOf(members: readonly JudgedDocument[]): Span[] {
  let start = 0;
  return members.map(({ id, body }) => {
    const span = { id, start, stop: start + body.length };
    start = span.stop + SEPARATOR.length;
    return span;
  });
}

function paragraphOf({ id, parent, start = 0, stop = 0 }: SearchResult, spans: ReadonlyMap<string, Span[]>): string {
  const shared = (span: Span): number => Math.min(stop, span.stop) - Math.max(start, span.start);
  return spans.get(parent ?? id)!.reduce((best, span) => (shared(span) > shared(best) ? span : best)).id;
}

async function embedQueries(): Promise<Float32Array[]> {
  const texts = set.queries.map(({ text }) => text);
  const prompt = promptFor('query', undefined, live.manifest);
  const { vectors, dimensions } = await live.embed(texts, { lane: 'bulk', normalize: true, prompt });
  return texts.map((_, n) => vectors.slice(n * dimensions, (n + 1) * dimensions));
}

async function fill(name: string, { documents }: Layout, chunk: { maxTokens: number; situated: boolean }) {
  const collection = await collections.put(name, {}, modelIdentity(live.manifest));
  for (const document of documents) {
    const request = { documents: [{ ...document, chunk }], promptName: undefined, nameOf: () => document.id };
    await collection.upsert(await embedDocuments(live, { ...request, signal: new AbortController().signal }));
  }
  return collection;
}

async function ndcgsOf(layout: Layout, collection: Collection, mode: Mode): Promise<number[]> {
  const ndcgs: number[] = [];
  for (const [n, { text, relevant }] of set.queries.entries()) {
    ndcgs.push(ndcgAtK(await layout.found(collection, { vector: vectors[n]!, text, mode }), relevant, K));
  }
  return ndcgs;
}

const mean = (numbers: readonly number[]): number => numbers.reduce((sum, n) => sum + n, 0) / numbers.length;
const hundredths = (value: number): string => (100 * value).toFixed(2);

const vectors = await embedQueries();
const rows: object[] = [];
say(`${set.documents.length} paragraphs, ${set.queries.length} queries`);
for (const [stored, layout] of Object.entries({ paragraphs, articles: articles() })) {
  for (const maxTokens of values.tokens.split(',').map(Number)) {
    const plain = await fill(`${stored}-${maxTokens}-plain`, layout, { maxTokens, situated: false });
    const situated = await fill(`${stored}-${maxTokens}-situated`, layout, { maxTokens, situated: true });
    for (const mode of MODES) {
      const of = { plain: await ndcgsOf(layout, plain, mode), situated: await ndcgsOf(layout, situated, mode) };
      const difference = pairedDifference(of.situated, of.plain);
      const { chunks } = await plain.info();
      rows.push({
        ...{ stored, maxTokens, passages: chunks, mode },
        ...{ plainNdcgAt10: mean(of.plain), situatedNdcgAt10: mean(of.situated), difference },
      });
      const scores = `plain ${hundredths(mean(of.plain))} situated ${hundredths(mean(of.situated))}`;
      const interval = `${hundredths(difference.mean)} (${hundredths(difference.low)} to ${hundredths(difference.high)})`;
      say(`  ${stored} of ${maxTokens} tokens (${chunks} passages), ${mode}: ${scores}, difference ${interval}`);
    }
  }
}
if (values.keep) {
  const shape = { documents: set.documents.length, queries: set.queries.length };
  say(keep('retrieval-chunks', { model: modelIdentity(live.manifest).id, ...shape, rows }));
}
await collections.close();
await models.close();
rmSync(dataDir, { recursive: true, force: true });
