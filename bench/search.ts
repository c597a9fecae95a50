/**
 * The index against embedded peers on the same vectors, queries and exact answers, in one run: build rate, recall@10 against
 * queries a second, p50 and p99, memory and start time. See search-contest.ts for how each is run, and docs/benchmarks.md.
 *
 *   npm run bench:index -- --papers FILE.jsonl.gz --query-titles FILE.jsonl.gz [--vectors DIR] [--count 100000]
 *     [--queries 1000] [--rounds 3] [--only REGEXP] [--keep]
 *
 * --papers has lines of {query, positive}: a title and its abstract; --query-titles lines of {text}: titles of other papers.
 * Their vectors are kept in --vectors; a run that finds them there reads no texts. Peers are installed into bench/.peers.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { npmEnvironment, pythonEnvironment } from './peers/environment.js';
import { keep, machine } from './report.js';
import { drawCurves, frontier } from './search-chart.js';
import { type Contender, compete, driver, type Outcome, runDriver, type Task, writeTask } from './search-contest.js';
import { keptTruth } from './search-truth.js';
import { loadVectors, VECTOR_OPTIONS, vectorSource } from './search-vectors.js';

const { values } = parseArgs({
  options: {
    ...VECTOR_OPTIONS,
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    keep: { type: 'boolean', default: false },
  },
});

const K = 10;
const LADDER = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
const CONCURRENCY = 4;
const CONCURRENT_RECALL = 0.99;
const CHROMA = 'chromadb==1.5.9';
const LANCEDB = '@lancedb/lancedb@0.37.1';
const OURS = 'Anchorage';
/** Recalls at which rates are compared. */
const COMPARED_RECALLS = [0.95, 0.98, 0.99, 0.995];

const ours = [process.execPath, driver('anchorage.mjs'), '{}'];
const CONTENDERS: Record<string, () => readonly string[]> = {
  [OURS]: () => ours,
  Chroma: () => [join(pythonEnvironment('chroma', [CHROMA]), 'bin', 'python'), driver('chroma.py')],
  'LanceDB HNSW': () => [process.execPath, driver('lancedb.mjs'), npmEnvironment('lancedb', [LANCEDB]), 'hnsw'],
  'LanceDB IVF_PQ': () => [process.execPath, driver('lancedb.mjs'), npmEnvironment('lancedb', [LANCEDB]), 'pq'],
};

const vectors = await loadVectors(vectorSource(values));
const truth = keptTruth(values.vectors, vectors, K);
const task: Task = {
  ...{ dimensions: vectors.model.dimensions, model: vectors.model, k: K, rounds: Number(values.rounds) },
  ...{ ladder: LADDER, truth, concurrency: CONCURRENCY, concurrentRecall: CONCURRENT_RECALL },
};
const folder = join(values.vectors, 'run');
writeTask(folder, vectors, task);

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

function show(name: string, outcome: Outcome): void {
  const { version, vectorsPerSecond, diskBytes, startMs, startPeakBytes, steadyBytes, points, concurrent } = outcome;
  const built = `${vectorsPerSecond.toFixed(0)} vectors/s, ${outcome.processorMs.toFixed(2)} ms of processor each`;
  say(`${name} ${version}: ${built}, ${megabytes(diskBytes)} on disk`);
  say(`  first answer after ${startMs.toFixed(0)} ms, at most ${megabytes(startPeakBytes)} until then`);
  say(`  ${megabytes(steadyBytes)} after all searches`);
  for (const point of frontier(points)) {
    const { parameter, recallAt10, queriesPerSecond, p50Ms, p99Ms, processorMs } = point;
    const rate = `${queriesPerSecond.toFixed(0).padStart(6)}/s ${processorMs.toFixed(2)} ms of processor`;
    say(
      `  ${parameter.padEnd(24)} ${recallAt10.toFixed(4)} ${rate} p50 ${p50Ms.toFixed(2)} ms p99 ${p99Ms.toFixed(2)} ms`,
    );
  }
  if (concurrent)
    say(`  ${concurrent.queriesPerSecond.toFixed(0)} queries/s, ${CONCURRENCY} at once (${concurrent.parameter})`);
}

/** Of the points that reach the recall; undefined where none does. */
function bestAt({ points }: Outcome, recall: number): { queriesPerSecond: number; processorMs: number } | undefined {
  const enough = points.filter(({ recallAt10 }) => recallAt10 >= recall);
  if (enough.length === 0) return undefined;
  return {
    queriesPerSecond: Math.max(...enough.map(({ queriesPerSecond }) => queriesPerSecond)),
    processorMs: Math.min(...enough.map(({ processorMs }) => processorMs)),
  };
}

say(`${vectors.base.length} vectors, ${vectors.queries.length} queries, ${JSON.stringify(machine())}`);
const wanted = new RegExp(values.only);
const outcomes: Record<string, Outcome> = {};
for (const [name, command] of Object.entries(CONTENDERS).filter(([name]) => wanted.test(name))) {
  const contender: Contender = { name, command: command() };
  outcomes[name] = compete(contender, folder);
  show(name, outcomes[name]);
  if (name !== OURS) continue;
  rmSync(join(folder, 'db', 'collections', 'bench', 'graph-1.snapshot'), { force: true });
  const cold = runDriver<{ startMs: number; firstPath: string }>(ours, 'start', folder);
  say(`  without its snapshot: first (${cold.firstPath}) answer after ${cold.startMs.toFixed(0)} ms`);
  Object.assign(outcomes[name], { startWithoutSnapshotMs: cold.startMs });
}
for (const recall of COMPARED_RECALLS) {
  const rates = Object.entries(outcomes).map(([name, outcome]) => {
    const best = bestAt(outcome, recall);
    if (!best) return `${name} not reached`;
    return `${name} ${best.queriesPerSecond.toFixed(0)} queries/s, ${best.processorMs.toFixed(2)} ms of processor`;
  });
  say(`recall ${recall}: ${rates.join('; ')}`);
}
if (values.keep) {
  const { base, queries, model } = vectors;
  say(keep('search', { vectors: base.length, queries: queries.length, model: model.id, outcomes }));
  const curves = Object.entries(outcomes).map(([name, { points }]) => ({ name, ours: name === OURS, points }));
  const subtitle = `${base.length} titles and abstracts, ${model.dimensions} dimensions, ${model.id}`;
  const picture = fileURLToPath(new URL('./results/search.svg', import.meta.url));
  writeFileSync(picture, drawCurves('Recall against speed', subtitle, curves, 0.9));
}
rmSync(folder, { recursive: true, force: true });
