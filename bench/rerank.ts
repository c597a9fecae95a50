/**
 * What should /rerank score by? Cosine of the pooled embeddings against late interaction over token embeddings (for each
 * query token the best cosine among the passage's tokens, averaged: ColBERT's MaxSim, arXiv 2004.12832), on the twenty
 * passages that dense search finds first. nDCG@10 on a set in BEIR layout.
 *
 *   npm run bench -- rerank --data FOLDER [--queries 1000]
 */
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import { createMetrics } from '../src/metrics.js';
import { ModelRegistry } from '../src/model/registry.js';
import { maxSim } from '../src/pooling/late-interaction.js';
import { ndcgAtK, readSet } from './judged-sets.js';
import { keep } from './report.js';

const CANDIDATES = 20;
const K = 10;

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    queries: { type: 'string', default: '1000' },
    keep: { type: 'boolean', default: false },
  },
});
if (!values.data) throw new Error('--data FOLDER is needed: a retrieval set in BEIR layout');
const { documents, queries } = readSet(values.data, Number(values.queries));

const config = readConfig({ argv: ['--cache-bytes-max', '0'], env: {} }) as Config;
const models = await ModelRegistry.open({ ...config, metrics: createMetrics() });
const { live } = models;

interface Embedded {
  readonly pooled: Float32Array;
  /** [tokens, dimensions], rows of unit length. */
  readonly tokens: Float32Array;
}

async function embedAll(texts: readonly string[]): Promise<Embedded[]> {
  const out: Embedded[] = [];
  for (let at = 0; at < texts.length; at += 256) {
    const slice = texts.slice(at, at + 256);
    const { vectors, dimensions } = await live.embed(slice, { lane: 'bulk', normalize: true });
    const { tokenVectors } = await live.embedTokens(slice, { lane: 'bulk', normalize: true });
    for (const [i, tokens] of tokenVectors.entries()) {
      out.push({ pooled: vectors.slice(i * dimensions, (i + 1) * dimensions), tokens });
    }
  }
  return out;
}

function dot(a: Float32Array, aStart: number, b: Float32Array, bStart: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aStart + i]! * b[bStart + i]!;
  return sum;
}

const started = performance.now();
const passages = await embedAll(documents.map(({ text }) => text));
const asked = await embedAll(queries.map(({ text }) => text));
const dimensions = live.manifest.dimensions;
const sums = { cosine: 0, lateInteraction: 0, mixed: 0 };
const millis = { cosine: 0, lateInteraction: 0 };
for (const [i, query] of queries.entries()) {
  const { pooled, tokens } = asked[i]!;
  const scored = passages.map(({ pooled: other }, index) => ({ index, cosine: dot(pooled, 0, other, 0, dimensions) }));
  const candidates = scored.sort((a, b) => b.cosine - a.cosine).slice(0, CANDIDATES);
  const start = performance.now();
  const late = candidates.map(({ index, cosine }) => ({
    index,
    cosine,
    late: maxSim(tokens, passages[index]!.tokens, dimensions),
  }));
  millis.lateInteraction += performance.now() - start;
  const quality = (score: (one: (typeof late)[number]) => number): number => {
    const ordered = [...late].sort((a, b) => score(b) - score(a)).slice(0, K);
    return ndcgAtK(
      ordered.map(({ index }) => documents[index]!.id),
      query.relevant,
      K,
    );
  };
  sums.cosine += quality(({ cosine }) => cosine);
  sums.lateInteraction += quality(({ late: score }) => score);
  sums.mixed += quality(({ cosine, late: score }) => cosine + score);
}
await models.close();

const percent = (sum: number): string => ((100 * sum) / queries.length).toFixed(2);
console.log(
  `${queries.length} queries, ${documents.length} passages, ${((performance.now() - started) / 1000).toFixed(0)} s`,
);
console.log(`nDCG@10 of the first ${CANDIDATES}, ordered by`);
console.log(`  cosine of pooled embeddings        ${percent(sums.cosine)}`);
console.log(`  late interaction over tokens       ${percent(sums.lateInteraction)}`);
console.log(`  their sum                          ${percent(sums.mixed)}`);
const ndcgAt10 = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, Number(percent(sum))]));
if (values.keep)
  console.log(`kept in ${keep('rerank', { queries: queries.length, documents: documents.length, ndcgAt10 })}`);
