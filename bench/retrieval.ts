/**
 * What finds more on judged sets: vectors, words, or both fused. nDCG@10 and recall@10 of the product's own search, over
 * sets in BEIR's layout, and over one made as LIMIT's are; and whether a way of fusing differs from reciprocal rank fusion by
 * more than chance (paired bootstrap over the queries).
 *
 *   npm run bench -- retrieval --sets DIR [--names nq_oracle,cosqa] [--queries 500] [--limit 32] [--keep]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import type { Collection } from '../src/index/collection.js';
import { Collections } from '../src/index/collections.js';
import type { SearchRequest } from '../src/index/search-types.js';
import { createMetrics } from '../src/metrics.js';
import { modelIdentity } from '../src/model/manifest.js';
import { promptFor } from '../src/model/prompts.js';
import { ModelRegistry } from '../src/model/registry.js';
import { type JudgedSet, limitSet, ndcgAtK, readSet, recallAtK } from './judged-sets.js';
import { pairedDifference } from './paired-bootstrap.js';
import { keep } from './report.js';

const { values } = parseArgs({
  options: {
    sets: { type: 'string', default: '' },
    names: { type: 'string', default: 'nq_oracle,squad_dev,cosqa,cranfield,arxiv_title_abstract' },
    queries: { type: 'string', default: '1000' },
    limit: { type: 'string', default: '32' },
    keep: { type: 'boolean', default: false },
  },
});

const K = 10;
const GROUP = 256;
const COMPARED_TO = 'rrf';
type Way = Pick<SearchRequest, 'mode' | 'fusion'>;
const hybrid = (method: 'rrf' | 'weighted', dense: number, sparse: number): Way => ({
  mode: 'hybrid',
  fusion: { method, weights: { dense, sparse } },
});
const WAYS: Record<string, Way> = {
  dense: { mode: 'dense' },
  sparse: { mode: 'sparse' },
  rrf: hybrid('rrf', 1, 1),
  'rrf 2:1': hybrid('rrf', 2, 1),
  weighted: hybrid('weighted', 1, 1),
  'weighted 2:1': hybrid('weighted', 2, 1),
  'weighted 3:1': hybrid('weighted', 3, 1),
};

const config = readConfig({ argv: [], env: {} }) as Config;
const models = await ModelRegistry.open({ ...config, metrics: createMetrics() });
const dataDir = mkdtempSync(join(tmpdir(), 'anchorage-bench-'));
const collections = await Collections.open({ dataDir, metrics: createMetrics() });

async function embed(texts: readonly string[], role: 'query' | 'document'): Promise<Float32Array[]> {
  const prompt = promptFor(role, undefined, models.live.manifest);
  const rows: Float32Array[] = [];
  for (let first = 0; first < texts.length; first += GROUP) {
    const group = texts.slice(first, first + GROUP);
    const { vectors, dimensions } = await models.live.embed(group, { lane: 'bulk', normalize: true, prompt });
    rows.push(...group.map((_, n) => vectors.slice(n * dimensions, (n + 1) * dimensions)));
  }
  return rows;
}

async function fill(collection: Collection, { documents }: JudgedSet): Promise<void> {
  const vectors = await embed(
    documents.map(({ text }) => text),
    'document',
  );
  for (let first = 0; first < documents.length; first += GROUP) {
    const group = documents.slice(first, first + GROUP);
    await collection.upsert(group.map(({ id, text }, n) => ({ id, text, vector: vectors[first + n]! })));
  }
}

const mean = (numbers: readonly number[]): number => numbers.reduce((sum, n) => sum + n, 0) / numbers.length;
const hundredths = (value: number): string => (100 * value).toFixed(2);

async function judge(name: string, set: JudgedSet): Promise<object> {
  const collection = await collections.put(name.replaceAll('_', '-'), {}, modelIdentity(models.live.manifest));
  await fill(collection, set);
  const vectors = await embed(
    set.queries.map(({ text }) => text),
    'query',
  );
  const ndcgs: Record<string, number[]> = {};
  const recalls: Record<string, number[]> = {};
  for (const [label, way] of Object.entries(WAYS)) {
    ndcgs[label] = [];
    recalls[label] = [];
    for (const [n, { text, relevant }] of set.queries.entries()) {
      const { results } = await collection.search({ vector: vectors[n]!, text, k: K, include: [], ...way });
      const found = results.map(({ id }) => id);
      ndcgs[label].push(ndcgAtK(found, relevant, K));
      recalls[label].push(recallAtK(found, relevant, K));
    }
  }
  process.stdout.write(`${name}: ${set.documents.length} documents, ${set.queries.length} queries\n`);
  const outcome = Object.keys(WAYS).map((label) => {
    const difference = pairedDifference(ndcgs[label]!, ndcgs[COMPARED_TO]!);
    const line = { ndcgAt10: mean(ndcgs[label]!), recallAt10: mean(recalls[label]!), difference };
    const scores = `nDCG@10 ${hundredths(line.ndcgAt10)}  recall@10 ${hundredths(line.recallAt10)}`;
    const interval = `${hundredths(difference.mean)} (${hundredths(difference.low)} to ${hundredths(difference.high)})`;
    process.stdout.write(`  ${label.padEnd(14)} ${scores}  against ${COMPARED_TO} ${interval}\n`);
    return [label, line] as const;
  });
  return {
    documents: set.documents.length,
    queries: set.queries.length,
    comparedTo: COMPARED_TO,
    ways: Object.fromEntries(outcome),
  };
}

const result: Record<string, object> = {};
for (const name of values.sets ? values.names.split(',') : []) {
  result[name] = await judge(name, readSet(join(values.sets, name), Number(values.queries)));
}
if (Number(values.limit) > 1) result.limit = await judge('limit', limitSet(Number(values.limit)));
if (values.keep)
  process.stdout.write(`${keep('retrieval', { model: modelIdentity(models.live.manifest).id, sets: result })}\n`);
await collections.close();
await models.close();
rmSync(dataDir, { recursive: true, force: true });
