/**
 * What finds more on judged sets: vectors, words, or both fused. nDCG@10 and recall@10 of the product's own search, over
 * sets in BEIR's layout, and over a set made as LIMIT's are (arXiv 2508.21038): every pair of n documents is the answer to
 * one query, which no single vector of few dimensions can express.
 *
 *   npm run bench -- retrieval --sets DIR [--names nq_oracle,cosqa] [--queries 500] [--limit 32] [--keep]
 */

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { type Config, readConfig } from '../src/config.js';
import type { Collection } from '../src/index/collection.js';
import { Collections } from '../src/index/collections.js';
import type { SearchRequest } from '../src/index/search-types.js';
import { createMetrics } from '../src/metrics.js';
import { modelIdentity } from '../src/model/manifest.js';
import { promptFor } from '../src/model/prompts.js';
import { ModelRegistry } from '../src/model/registry.js';

import { keep } from './report.js';

const { values } = parseArgs({
  options: {
    sets: { type: 'string', default: '' },
    names: { type: 'string', default: 'nq_oracle,squad_dev,cosqa' },
    queries: { type: 'string', default: '500' },
    limit: { type: 'string', default: '32' },
    keep: { type: 'boolean', default: false },
  },
});

const K = 10;
const GROUP = 256;
const MODES: Record<string, Pick<SearchRequest, 'mode' | 'fusion'>> = {
  dense: { mode: 'dense' },
  sparse: { mode: 'sparse' },
  'hybrid, rrf': { mode: 'hybrid', fusion: { method: 'rrf' } },
  'hybrid, rrf 2:1': { mode: 'hybrid', fusion: { method: 'rrf', weights: { dense: 2, sparse: 1 } } },
  'hybrid, weighted': { mode: 'hybrid', fusion: { method: 'weighted' } },
  'hybrid, weighted 2:1': { mode: 'hybrid', fusion: { method: 'weighted', weights: { dense: 2, sparse: 1 } } },
};

interface JudgedSet {
  readonly documents: readonly { readonly id: string; readonly text: string }[];
  readonly queries: readonly { readonly text: string; readonly relevant: ReadonlyMap<string, number> }[];
}

const linesOf = (path: string): string[] => {
  const bytes = existsSync(`${path}.gz`) ? gunzipSync(readFileSync(`${path}.gz`)) : readFileSync(path);
  return bytes.toString().trim().split('\n');
};

function readSet(folder: string, queriesMax: number): JudgedSet {
  const relevant = new Map<string, Map<string, number>>();
  for (const line of linesOf(join(folder, 'qrels', 'test.tsv')).slice(1)) {
    const [query, document, grade] = line.trim().split('\t');
    const judged = relevant.get(query!) ?? new Map<string, number>();
    relevant.set(query!, judged.set(document!, Number(grade)));
  }
  const parse = (name: string) =>
    linesOf(join(folder, name)).map((line) => JSON.parse(line) as { _id: string; title?: string; text: string });
  const judged = parse('queries.jsonl').filter(({ _id }) => relevant.has(_id));
  return {
    documents: parse('corpus.jsonl').map(({ _id, title, text }) => ({
      id: _id,
      text: title ? `${title} ${text}` : text,
    })),
    queries: judged.slice(0, queriesMax).map(({ _id, text }) => ({ text, relevant: relevant.get(_id)! })),
  };
}

const FIRST = ['amber', 'brass', 'cedar', 'denim', 'ebony', 'felt', 'glass', 'hemp', 'ivory', 'jade', 'khaki', 'linen'];
const SECOND = [
  'anvils',
  'buckets',
  'candles',
  'drums',
  'easels',
  'flutes',
  'gloves',
  'hats',
  'inkwells',
  'jugs',
  'kites',
];
const THIRD = [
  'antique',
  'broken',
  'curved',
  'dusty',
  'empty',
  'folded',
  'giant',
  'hollow',
  'inlaid',
  'jointed',
  'knotted',
];

/** One liking for each pair of people; a query asks who has it. */
function limitSet(people: number): JudgedSet {
  const likings = Array.from({ length: people }, () => [] as string[]);
  const queries: { text: string; relevant: Map<string, number> }[] = [];
  for (let a = 0; a < people; a++) {
    for (let b = a + 1; b < people; b++) {
      const n = queries.length;
      const words = [THIRD[Math.floor(n / 132) % 11], FIRST[n % 12], SECOND[Math.floor(n / 12) % 11]];
      const liking = words.join(' ');
      likings[a]!.push(liking);
      likings[b]!.push(liking);
      queries.push({
        text: `Who likes ${liking}?`,
        relevant: new Map([
          [String(a), 1],
          [String(b), 1],
        ]),
      });
    }
  }
  const documents = likings.map((liked, n) => ({ id: String(n), text: `Person ${n} likes ${liked.join(', ')}.` }));
  return { documents, queries };
}

function ndcgAtK(found: readonly string[], relevant: ReadonlyMap<string, number>): number {
  const gain = (grade: number, rank: number): number => (2 ** grade - 1) / Math.log2(rank + 2);
  const ideal = [...relevant.values()].sort((a, b) => b - a).slice(0, K);
  const best = ideal.reduce((sum, grade, rank) => sum + gain(grade, rank), 0);
  return found.reduce((sum, id, rank) => sum + gain(relevant.get(id) ?? 0, rank), 0) / best;
}

const recallAtK = (found: readonly string[], relevant: ReadonlyMap<string, number>): number =>
  found.filter((id) => (relevant.get(id) ?? 0) > 0).length / Math.min(K, relevant.size);

const config = readConfig({ argv: [], env: {} }) as Config;
const models = await ModelRegistry.open({ ...config, metrics: createMetrics() });
const dataDir = mkdtempSync(join(tmpdir(), 'anchorage-bench-'));
const collections = await Collections.open({ dataDir, metrics: createMetrics() });

async function embed(texts: readonly string[], role: 'query' | 'document'): Promise<Float32Array[]> {
  const prompt = promptFor(role, undefined, models.live.manifest);
  const { vectors, dimensions } = await models.live.embed(texts, { lane: 'bulk', normalize: true, prompt });
  return texts.map((_, n) => vectors.slice(n * dimensions, (n + 1) * dimensions));
}

async function fill(collection: Collection, { documents }: JudgedSet): Promise<void> {
  for (let first = 0; first < documents.length; first += GROUP) {
    const group = documents.slice(first, first + GROUP);
    const vectors = await embed(
      group.map(({ text }) => text),
      'document',
    );
    await collection.upsert(group.map((document, n) => ({ ...document, vector: vectors[n]! })));
  }
}

async function judge(name: string, set: JudgedSet): Promise<object> {
  const collection = await collections.put(name.replaceAll('_', '-'), {}, modelIdentity(models.live.manifest));
  await fill(collection, set);
  const vectors: Float32Array[] = [];
  const texts = set.queries.map(({ text }) => text);
  for (let first = 0; first < texts.length; first += GROUP)
    vectors.push(...(await embed(texts.slice(first, first + GROUP), 'query')));
  const outcome: Record<string, object> = {};
  process.stdout.write(`${name}: ${set.documents.length} documents, ${set.queries.length} queries\n`);
  for (const [label, mode] of Object.entries(MODES)) {
    let ndcg = 0;
    let recall = 0;
    for (const [n, { text, relevant }] of set.queries.entries()) {
      const { results } = await collection.search({ vector: vectors[n]!, text, k: K, include: [], ...mode });
      const found = results.map(({ id }) => id);
      ndcg += ndcgAtK(found, relevant) / set.queries.length;
      recall += recallAtK(found, relevant) / set.queries.length;
    }
    outcome[label] = { ndcgAt10: ndcg, recallAt10: recall };
    process.stdout.write(
      `  ${label.padEnd(22)} nDCG@10 ${(100 * ndcg).toFixed(2)}  recall@10 ${(100 * recall).toFixed(2)}\n`,
    );
  }
  return outcome;
}

const result: Record<string, object> = { limit: await judge('limit', limitSet(Number(values.limit))) };
for (const name of values.sets ? values.names.split(',') : []) {
  result[name] = await judge(name, readSet(join(values.sets, name), Number(values.queries)));
}
if (values.keep)
  process.stdout.write(`${keep('retrieval', { model: modelIdentity(models.live.manifest).id, sets: result })}\n`);
await collections.close();
await models.close();
rmSync(dataDir, { recursive: true, force: true });
