/**
 * Anchorage against its peers on this machine: the same weights, texts, longest text and number of threads, in rounds that
 * interleave. Servers are driven over HTTP by one load client; libraries in processes of their own, where their embed call
 * alone is timed. Each peer is installed into bench/.peers once (minutes; llama.cpp compiles for a quarter of an hour),
 * and a peer that cannot be had is named with its reason.
 *
 *   npm run bench:peers [-- --quick] [--rounds 3] [--scale 1] [--only REGEXP] [--threads 2]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { anchorageVersions } from './peers/anchorage.js';
import { drawChart } from './peers/chart.js';
import { fastembed } from './peers/fastembed.js';
import { infinity } from './peers/infinity.js';
import { llamaCppServers } from './peers/llama-cpp.js';
import { machinePeak, operationsOf } from './peers/machine-peak.js';
import { type BulkResult, type Contestant, measureBulk, measureQueries } from './peers/measure.js';
import { residentBytes } from './peers/memory.js';
import { qualityOf, referenceVectors } from './peers/quality.js';
import { sentenceTransformers } from './peers/sentence-transformers.js';
import { type Facts, printBulk, printFacts, printQueries, printTable } from './peers/table.js';
import { transformersJs } from './peers/transformers-js.js';
import { prepareWeights } from './peers/weights.js';
import { makeTexts } from './peers/workloads.js';
import { keep, machine, median } from './report.js';

const MAX_TOKENS = 512;
const GAMMA = 0.5;
/** Below this mean cosine to the reference a peer computes something else, and its speed says nothing. */
const COSINE_MIN = 0.95;
/** Above this, the figures say more about the machine's other work than about the peers. */
const LOAD_AVERAGE_MAX = 1.5;
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const RESULTS = join(ROOT, 'bench', 'results');
const PICTURED = 'arXiv mixture';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    only: { type: 'string', default: '' },
    threads: { type: 'string', default: String(availableParallelism()) },
    scale: { type: 'string' },
  },
});
const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
/** Share of a full run's texts and queries. */
const scale = Number(values.scale ?? (values.quick ? 0.5 : 1));
const threads = Number(values.threads);
const only = new RegExp(values.only, 'i');

const loadBefore = loadavg()[0]!;
if (loadBefore > LOAD_AVERAGE_MAX)
  console.log(`the machine is busy (load average ${loadBefore.toFixed(1)}): mistrust this`);
const missing: Record<string, string> = {
  'text-embeddings-inference': 'in no package registry',
};
const weights = prepareWeights(MAX_TOKENS);
const texts = await makeTexts(scale, weights.folder);
const references = await referenceVectors(weights, texts.sample, GAMMA);
const peak = machinePeak(threads);
const contestants: Contestant[] = [];
const facts: Record<string, Facts> = {};

const peers = [
  ...anchorageVersions,
  ...transformersJs,
  ...sentenceTransformers,
  ...fastembed,
  ...infinity,
  ...llamaCppServers,
];
for (const peer of peers.filter(({ name }) => only.test(name))) {
  try {
    const open = await peer.open({ weights, threads });
    const quality = await qualityOf(peer, open, texts.sample, references);
    facts[peer.name] = { quality };
    if (quality.meanCosine < COSINE_MIN) {
      await open.close();
      throw new Error(`its vectors are others: mean cosine ${quality.meanCosine.toFixed(3)} to the reference`);
    }
    contestants.push({ peer, open });
    console.log(`${peer.name}: ready`);
  } catch (error) {
    missing[peer.name] = (error as Error).message;
    console.log(`${peer.name}: not compared: ${missing[peer.name]}`);
  }
}
const failed = ({ peer }: Contestant, error: Error): void => {
  missing[peer.name] = `failed while measured: ${error.message}`;
  console.log(`${peer.name}: ${missing[peer.name]}`);
};

const ours = contestants.find(({ peer }) => peer.name.startsWith('Anchorage'))?.peer.name ?? '';
const bulk: Record<string, BulkResult> = {};
for (const workload of texts.bulk) {
  bulk[workload.name] = await measureBulk(workload, contestants, { rounds, texts, failed });
  printBulk(workload.name, bulk[workload.name]!, ours);
}
const counts = { single: Math.ceil(100 * scale), concurrent: Math.ceil(400 * scale), steady: Math.ceil(200 * scale) };
const queries = await measureQueries(contestants, { rounds, texts, failed, ...counts });
printQueries(queries);
for (const { peer, open } of contestants) {
  const bytes = residentBytes(open.pid);
  facts[peer.name] = {
    ...facts[peer.name],
    ...(bytes && { residentMiB: bytes / 2 ** 20 }),
    ...(open.paddingShare && { paddingShare: await open.paddingShare() }),
  };
}
await Promise.all(contestants.map(({ open }) => open.close()));
printFacts(facts);

const operations = operationsOf(weights);
const ofPeak = Object.entries(bulk)
  .filter(([name]) => / tokens$/.test(name))
  .map(([name, result]) => {
    const perText = operations(result.tokens / result.texts);
    const share = ({ peer }: Contestant): string =>
      `${((median(result.rates[peer.name] ?? [0]) * perText) / 1e7 / peak[peer.precision]).toFixed(0)}%`;
    return [name, ...contestants.filter(({ peer }) => peer.name.startsWith('Anchorage')).map(share)];
  });
printTable(
  `share of the machine's peak (float32 ${peak.float32.toFixed(0)}, int8 ${peak.int8.toFixed(0)} billion operations/s)`,
  ['', ...contestants.filter(({ peer }) => peer.name.startsWith('Anchorage')).map(({ peer }) => peer.name.slice(10))],
  ofPeak,
);

const points = contestants.flatMap(({ peer: { name } }) => {
  const rates = bulk[PICTURED]?.rates[name];
  const p99Ms = queries.single[name]?.p99Ms;
  if (!rates?.length || p99Ms === undefined) return [];
  return [{ name, textsPerSecond: median(rates), p99Ms, ours: name.startsWith('Anchorage') }];
});
const about = machine() as { processor: string; cores: number; commit: string };
if (points.length > 0) {
  mkdirSync(RESULTS, { recursive: true });
  const subtitle = `arXiv titles and abstracts; ${about.processor}, ${about.cores} cores; commit ${about.commit}`;
  writeFileSync(join(RESULTS, 'peers.svg'), drawChart('all-MiniLM-L6-v2 on the same machine', subtitle, points));
}
console.log(`\n${JSON.stringify(about)}`);
for (const [name, reason] of Object.entries(missing)) console.log(`missing: ${name}: ${reason}`);
const load = { before: loadBefore, after: loadavg()[0]! };
const packages = Object.fromEntries(contestants.map(({ peer }) => [peer.name, peer.packages]));
console.log(`kept in ${keep('peers', { rounds, threads, load, packages, missing, peak, bulk, queries, facts })}`);
