/**
 * What compression costs: recall@10, queries a second and memory of one collection for each kind of code and, by
 * `dimensions`, for the first dimensions alone. Each is built, searched and measured as in bench/search.ts; memory for a
 * million vectors is the collection's count, and the process's resident memory above that of one with a single vector,
 * both scaled up. `--copies 10` makes a million of 100,000: each vector, and nine others near it.
 *
 *   npm run bench -- search-codes --vectors DIR [--papers … --query-titles …] [--count 100000] [--queries 1000]
 *     [--copies 1] [--only REGEXP] [--rounds 2] [--keep]
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { CollectionOptions } from '../src/index/collection-settings.js';
import { keep, machine } from './report.js';
import { frontier } from './search-chart.js';
import { compete, driver, type Outcome, type Task, writeTask } from './search-contest.js';
import { keptTruth } from './search-truth.js';
import { loadVectors, VECTOR_OPTIONS, vectorSource, withNeighbours } from './search-vectors.js';

const { values } = parseArgs({
  options: {
    ...VECTOR_OPTIONS,
    copies: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    rounds: { type: 'string', default: '2' },
    keep: { type: 'boolean', default: false },
  },
});

const K = 10;
const LADDER = [16, 32, 64, 128, 200, 400, 800];
const MILLION = 1e6;
/** By codes alone, efSearch candidates are taken: the default oversample would be a floor to it. */
const KINDS: Record<string, CollectionOptions> = {
  float32: {},
  int8: { quantization: 'int8' },
  binary: { quantization: 'binary', oversample: 1 },
  'float32, 256 dimensions': { dimensions: 256, oversample: 1 },
  'float32, 128 dimensions': { dimensions: 128, oversample: 1 },
  'int8, 256 dimensions': { quantization: 'int8', dimensions: 256, oversample: 1 },
  'binary, 256 dimensions': { quantization: 'binary', dimensions: 256, oversample: 1 },
};

interface OurOutcome extends Outcome {
  readonly indexBytes: number;
}

const vectors = withNeighbours(await loadVectors(vectorSource(values)), Number(values.copies));
const { model } = vectors;
const folder = join(values.vectors, 'codes-run');
const task: Task = {
  ...{ dimensions: model.dimensions, model, k: K, rounds: Number(values.rounds), ladder: LADDER },
  ...{ truth: keptTruth(values.vectors, vectors, K), concurrency: 4, concurrentRecall: 0.99 },
};
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

function run(settings: CollectionOptions): OurOutcome {
  const command = [process.execPath, driver('anchorage.mjs'), JSON.stringify(settings)];
  return compete({ name: '', command }, folder) as OurOutcome;
}

say(`${vectors.base.length} vectors, ${vectors.queries.length} queries, ${JSON.stringify(machine())}`);
writeTask(folder, { ...vectors, base: vectors.base.slice(0, 1) }, { ...task, rounds: 1, ladder: [16] });
const emptyBytes = run({}).steadyBytes;
say(`a process with one vector: ${megabytes(emptyBytes)}`);
writeTask(folder, vectors, task);
const kinds: Record<string, object> = {};
for (const [name, settings] of Object.entries(KINDS).filter(([name]) => new RegExp(values.only).test(name))) {
  const outcome = run(settings);
  const { vectorsPerSecond, indexBytes, steadyBytes, startMs, points } = outcome;
  const scale = MILLION / vectors.base.length;
  const aMillion = { countedBytes: indexBytes * scale, residentBytes: (steadyBytes - emptyBytes) * scale };
  kinds[name] = { ...outcome, aMillion };
  const memory = `a million: ${megabytes(aMillion.countedBytes)} counted, ${megabytes(aMillion.residentBytes)} resident`;
  say(`${name}: ${vectorsPerSecond.toFixed(0)} vectors/s, first answer after ${startMs.toFixed(0)} ms, ${memory}`);
  for (const { parameter, recallAt10, queriesPerSecond, p50Ms, p99Ms } of frontier(points)) {
    const times = `p50 ${p50Ms.toFixed(2)} ms p99 ${p99Ms.toFixed(2)} ms`;
    say(`  ${parameter.padEnd(6)} ${recallAt10.toFixed(4)} ${queriesPerSecond.toFixed(0).padStart(6)}/s ${times}`);
  }
}
if (values.keep) {
  const name = values.copies === '1' ? 'search-codes' : `search-codes-${vectors.base.length}`;
  say(keep(name, { vectors: vectors.base.length, queries: vectors.queries.length, emptyBytes, kinds }));
}
rmSync(folder, { recursive: true, force: true });
