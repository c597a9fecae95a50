/**
 * The native encoder beside ONNX Runtime, on one thread of this process, over batches of one length each: no padding for either, no
 * tokenization, no pooling. Rounds in turns; the ratio is of each round.
 *
 *   npm run bench -- engines [--rounds 40 --model NAME@VERSION --without-amx --keep]
 *
 * With --without-amx the process starts itself again under no-amx-shim.c, which refuses AMX to both; so an AMX processor
 * shows what one with AVX-512 VNNI alone would do.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import { type Encoder, type EngineInUse, loadEncoder } from '../src/model/encoder.js';
import { readManifest } from '../src/model/manifest.js';
import { printTable } from './peers/table.js';
import { keep, machine, median } from './report.js';

/** Texts x tokens. */
const SHAPES = [
  [1, 10],
  [32, 16],
  [4, 128],
  [2, 256],
  [1, 512],
] as const;
const TOKENS_A_ROUND = 1000;
const IDS = { first: 1000, count: 20_000 };

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '40' },
    model: { type: 'string', default: (readConfig({ argv: [], env: {} }) as Config).model },
    'without-amx': { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});
if (values['without-amx'] && !process.env.LD_PRELOAD) process.exit(startAgainWithoutAmx());

function startAgainWithoutAmx(): number {
  const shim = join(mkdtempSync(join(tmpdir(), 'anchorage-bench-')), 'no-amx.so');
  const source = fileURLToPath(new URL('no-amx-shim.c', import.meta.url));
  const { status } = spawnSync('cc', ['-O1', '-shared', '-fPIC', source, '-o', shim, '-ldl'], { stdio: 'inherit' });
  if (status !== 0) throw new Error('no-amx-shim.c could not be compiled; a C compiler is needed');
  const argv = [...process.execArgv, ...process.argv.slice(1)];
  return spawnSync(process.execPath, argv, { stdio: 'inherit', env: { ...process.env, LD_PRELOAD: shim } }).status ?? 1;
}

const [name, version] = values.model.split('@') as [string, string];
const folder = fileURLToPath(new URL(`../models/${name}/${version}`, import.meta.url));
const manifest = await readManifest(folder);
const options = { folder, manifest, device: 'cpu', threads: 1 } as const;
const encoders = [
  await loadEncoder({ ...options, engine: 'native' }),
  await loadEncoder({ ...options, engine: 'onnxruntime' }),
] as const;

/** @returns microseconds a token. */
async function cost(encoder: Encoder, texts: number, tokens: number): Promise<number> {
  const ids = Int32Array.from({ length: texts * tokens }, (_, i) => IDS.first + ((i * 7919) % IDS.count));
  const lengths = new Int32Array(texts).fill(tokens);
  const passes = Math.ceil(TOKENS_A_ROUND / ids.length);
  const start = performance.now();
  for (let i = 0; i < passes; i++) await encoder.run(ids, lengths, ['hiddenStates', 'receivedAttention'], undefined);
  return ((performance.now() - start) * 1000) / passes / ids.length;
}

interface Costs {
  readonly native: number[];
  readonly onnxruntime: number[];
}

const results: Record<string, Costs> = {};
for (const [texts, tokens] of SHAPES) {
  const costs: Costs = { native: [], onnxruntime: [] };
  for (const encoder of encoders) await cost(encoder, texts, tokens);
  for (let round = 0; round < Number(values.rounds); round++) {
    costs.native.push(await cost(encoders[0], texts, tokens));
    costs.onnxruntime.push(await cost(encoders[1], texts, tokens));
  }
  results[`${texts} x ${tokens}`] = costs;
}

const engine: EngineInUse = encoders[0].engine;
printTable(
  'microseconds a token, one thread: medians, least, and the median of the ratios within rounds',
  ['texts x tokens', engine, 'least', 'onnxruntime', 'least', 'ratio'],
  Object.entries(results).map(([shape, { native, onnxruntime }]) => [
    shape,
    ...[native, onnxruntime].flatMap((costs) => [median(costs).toFixed(1), Math.min(...costs).toFixed(1)]),
    median(onnxruntime.map((own, round) => own / native[round]!)).toFixed(2),
  ]),
);
console.log(JSON.stringify(machine()));
if (values.keep)
  console.log(`kept in ${keep(`engines-${engine}`, { model: values.model, engine, settings: values, results })}`);
