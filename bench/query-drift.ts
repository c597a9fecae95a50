/**
 * What query drift compensation keeps: a collection holds vectors of an old model, and is searched by queries of a new one
 * through a map that was fitted from some of its passages. Beside it: the old model's own queries, and the collection embedded
 * anew. nDCG@10 on a set in BEIR layout, and the share of the new model's ten nearest that each finds.
 *
 *   npm run bench -- query-drift --data FOLDER --models-dir DIR --old name@version --new name@version [--queries 500] [--keep]
 */
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import { mapVector } from '../src/index/query-map.js';
import { neighbours, shareFound } from '../src/jobs/nearest.js';
import { candidateMaps } from '../src/jobs/query-drift.js';
import { createMetrics } from '../src/metrics.js';
import type { Embedder } from '../src/model/embedder.js';
import { modelIdentity } from '../src/model/manifest.js';
import { promptFor } from '../src/model/prompts.js';
import { ModelRegistry } from '../src/model/registry.js';
import { ndcgAtK, readSet } from './judged-sets.js';
import { keep } from './report.js';

const K = 10;
const FIT_SIZES = [250, 500, 1000, 2000];
const GROUP = 128;

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    'models-dir': { type: 'string', default: 'models' },
    old: { type: 'string' },
    new: { type: 'string' },
    queries: { type: 'string', default: '500' },
    keep: { type: 'boolean', default: false },
  },
});
const { data, old: oldModel, new: newModel } = values;
if (!data || !oldModel || !newModel) throw new Error('--data FOLDER, --old and --new name@version are needed');

const { documents, queries } = readSet(data, Number(values.queries));

async function embed(
  embedder: Embedder,
  texts: readonly string[],
  role: 'query' | 'document',
): Promise<Float32Array[]> {
  const prompt = promptFor(role, undefined, embedder.manifest);
  const rows: Float32Array[] = [];
  for (let first = 0; first < texts.length; first += GROUP) {
    const group = texts.slice(first, first + GROUP);
    const { vectors, dimensions } = await embedder.embed(group, { lane: 'bulk', normalize: true, prompt });
    for (let row = 0; row < group.length; row++) rows.push(vectors.slice(row * dimensions, (row + 1) * dimensions));
  }
  return rows;
}

const config = readConfig({
  argv: ['--cache-bytes-max', '0', '--models-dir', values['models-dir']],
  env: {},
}) as Config;

async function embedAll(model: string) {
  const models = await ModelRegistry.open({ ...config, model, metrics: createMetrics() });
  const textsOf = (all: readonly { text: string }[]): string[] => all.map(({ text }) => text);
  const passages = await embed(models.live, textsOf(documents), 'document');
  const asked = await embed(models.live, textsOf(queries), 'query');
  const identity = modelIdentity(models.live.manifest);
  await models.close();
  return { identity, passages, asked };
}

/** No query is a passage: nothing is left out of an answer. */
const found = (asked: readonly Float32Array[], passages: readonly Float32Array[]): number[][] =>
  neighbours(asked, passages, { k: K, leaveOutSelf: false });

function ndcg(answers: readonly (readonly number[])[]): number {
  const ids = (rows: readonly number[]): string[] => rows.map((row) => documents[row]!.id);
  const each = answers.map((rows, query) => ndcgAtK(ids(rows), queries[query]!.relevant, K));
  return (100 * each.reduce((sum, one) => sum + one, 0)) / each.length;
}

const before = await embedAll(oldModel);
const after = await embedAll(newModel);
const wanted = found(after.asked, after.passages);
const row = (name: string, answers: number[][]) => ({ name, ndcg: ndcg(answers), share: shareFound(answers, wanted) });
const results = [
  row('old queries, old vectors', found(before.asked, before.passages)),
  row('new queries, new vectors', wanted),
];
// Passages that answer no query here: a fit leans towards the passages that it saw, which would help or hurt by luck.
const answering = new Set(queries.flatMap(({ relevant }) => [...relevant.keys()]));
const others = documents.map((_, at) => at).filter((at) => !answering.has(documents[at]!.id));
const best = new Map<string, { name: string; ndcg: number; share: number }>();
for (const size of FIT_SIZES.filter((one) => one <= others.length)) {
  const rows = others.slice(0, size);
  const texts = { from: rows.map((at) => after.passages[at]!), to: rows.map((at) => before.passages[at]!) };
  for (const map of candidateMaps({ from: after.identity, to: before.identity }, texts)) {
    const mapped = after.asked.map((query) => mapVector(map, query));
    const one = row(`new queries, mapped by ${map.method} from ${size}`, found(mapped, before.passages));
    const known = best.get(one.name);
    if (!known || one.share > known.share) best.set(one.name, one);
  }
}
results.push(...best.values());
for (const one of results)
  console.log(`${one.name.padEnd(48)} nDCG@10 ${one.ndcg.toFixed(2)}  of the new ten ${one.share.toFixed(3)}`);
if (values.keep)
  keep('query-drift', {
    data: data.split('/').at(-1),
    old: oldModel,
    new: newModel,
    passages: documents.length,
    queries: queries.length,
    results,
  });
