/**
 * Anchorage against its peers on this machine: the same weights, texts, longest text and number of threads, in rounds that
 * interleave. Servers are driven over HTTP by one load client; libraries in processes of their own, where their embed call
 * alone is timed. Each peer is installed into bench/.peers once (minutes; llama.cpp compiles for a quarter of an hour),
 * and a peer that cannot be had is named with its reason.
 *
 *   npm run bench:peers [-- --quick] [--part bulk|queries] [--rounds 3] [--scale 1] [--only REGEXP] [--threads 2] [--weights VERSION]
 *
 * The weights are all-MiniLM-L6-v2's, or those of an imported version, a folder that `npm run model -- import` made; then
 * the results are called peers-<its name>. A part by itself replaces that part of bench/results/peers.json and leaves the
 * other; the picture is drawn from both.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, homedir, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { anchorageVersions } from './peers/anchorage.js';
import { drawChart } from './peers/chart.js';
import { fastembed } from './peers/fastembed.js';
import { infinity } from './peers/infinity.js';
import { llamaCppServers } from './peers/llama-cpp.js';
import { machinePeak, operationsOf } from './peers/machine-peak.js';
import { type BulkResult, type Contestant, measureBulk, measureQueries, type QueryResult } from './peers/measure.js';
import { residentBytes } from './peers/memory.js';
import { qualityOf, referenceVectors } from './peers/quality.js';
import { sentenceTransformers } from './peers/sentence-transformers.js';
import { type Facts, printBulk, printFacts, printQueries, printTable } from './peers/table.js';
import { transformersJs } from './peers/transformers-js.js';
import { GAMMA, prepareWeights } from './peers/weights.js';
import { makeTexts } from './peers/workloads.js';
import { keep, machine, median } from './report.js';

const MAX_TOKENS = 512;
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
    part: { type: 'string', default: 'all' },
    weights: { type: 'string' },
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
/** What a peer complained of, without the folders of this machine: it is kept with the results. */
const reasonOf = ({ message }: Error): string => message.replaceAll(ROOT, '').replaceAll(homedir(), '~');
const missing: Record<string, string> = {
  'text-embeddings-inference': 'in no package registry',
};
const weights = prepareWeights(MAX_TOKENS, values.weights);
const texts = await makeTexts(scale, weights.folder);
const references = await referenceVectors(weights, texts.sample, GAMMA);
const peak = machinePeak(threads);
const contestants: Contestant[] = [];
const facts: Record<string, Facts> = {};

const peers = [
  ...anchorageVersions(weights),
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
    missing[peer.name] = reasonOf(error as Error);
    console.log(`${peer.name}: not compared: ${missing[peer.name]}`);
  }
}
const failed = ({ peer }: Contestant, error: Error): void => {
  missing[peer.name] = `failed while measured: ${reasonOf(error)}`;
  console.log(`${peer.name}: ${missing[peer.name]}`);
};

const isOurs = (name: string): boolean => name.startsWith('Anchorage');
const ours = contestants.find(({ peer }) => isOurs(peer.name))?.peer.name ?? '';

async function bulkPart(): Promise<Record<string, BulkResult>> {
  const bulk: Record<string, BulkResult> = {};
  for (const workload of texts.bulk) {
    bulk[workload.name] = await measureBulk(workload, contestants, { rounds, texts, failed });
    printBulk(workload.name, bulk[workload.name]!, ours);
  }
  printShareOfPeak(bulk);
  return bulk;
}

async function queriesPart(): Promise<QueryResult> {
  const counts = { single: Math.ceil(100 * scale), concurrent: Math.ceil(400 * scale), steady: Math.ceil(200 * scale) };
  const queries = await measureQueries(contestants, { rounds, texts, failed, ...counts });
  printQueries(queries);
  return queries;
}

/** Anchorage's own operations a second as a share of what the machine multiplies at best. */
function printShareOfPeak(bulk: Readonly<Record<string, BulkResult>>): void {
  const operations = operationsOf(weights);
  const shown = contestants.filter(({ peer }) => isOurs(peer.name));
  const rows = Object.entries(bulk)
    .filter(([name]) => / tokens$/.test(name))
    .map(([name, result]) => {
      const perText = operations(result.tokens / result.texts);
      const share = ({ peer }: Contestant): string =>
        `${((median(result.rates[peer.name] ?? [0]) * perText) / 1e7 / peak[peer.precision]).toFixed(0)}%`;
      return [name, ...shown.map(share)];
    });
  const rates = `float32 ${peak.float32.toFixed(0)}, int8 ${peak.int8.toFixed(0)} billion operations/s`;
  printTable(`share of the machine's peak (${rates})`, ['', ...shown.map(({ peer }) => peer.name.slice(10))], rows);
}

/** Throughput on the mixture against the latency of one query, of the peers of which both are known. */
function drawParts({ bulk, queries }: Parts): void {
  const about = machine() as { processor: string; cores: number; commit: string };
  const points = Object.entries(queries?.queries.single ?? {}).flatMap(([name, { p99Ms }]) => {
    const rates = bulk?.bulk[PICTURED]?.rates[name];
    return rates?.length ? [{ name, textsPerSecond: median(rates), p99Ms, ours: isOurs(name) }] : [];
  });
  if (points.length === 0) return;
  const subtitle = `arXiv titles and abstracts; ${about.processor}, ${about.cores} cores; commit ${about.commit}`;
  writeFileSync(join(RESULTS, `${result}.svg`), drawChart(`${weights.name} on the same machine`, subtitle, points));
}

interface Parts {
  bulk?: { readonly bulk: Record<string, BulkResult> };
  queries?: { readonly queries: QueryResult };
}

mkdirSync(RESULTS, { recursive: true });
const result = values.weights ? `peers-${weights.name}` : 'peers';
const kept = join(RESULTS, `${result}.json`);
const parts: Parts = existsSync(kept) ? (JSON.parse(readFileSync(kept, 'utf8')) as { parts: Parts }).parts : {};
const measured = {
  ...(values.part === 'queries' ? {} : { bulk: await bulkPart() }),
  ...(values.part === 'bulk' ? {} : { queries: await queriesPart() }),
};
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

console.log(`\n${JSON.stringify(machine())}`);
for (const [name, reason] of Object.entries(missing)) console.log(`missing: ${name}: ${reason}`);
const load = { before: loadBefore, after: loadavg()[0]! };
const packages = Object.fromEntries(contestants.map(({ peer }) => [peer.name, peer.packages]));
const about = { machine: machine(), rounds, scale, threads, load, packages, missing, peak, facts };
const { bulk, queries } = measured;
const all = { ...parts, ...(bulk && { bulk: { ...about, bulk } }), ...(queries && { queries: { ...about, queries } }) };
drawParts(all);
console.log(`kept in ${keep(result, { parts: all })}`);
