/**
 * Before a release: HTTP against a bare loop of the same engine over the same texts, in short interleaved pairs. Exits 1
 * where the median ratio falls below 0.85 in ONNX Runtime, or 0.65 in native code, beside which HTTP weighs more. Not for CI,
 * where noise would rule. `npm run bench -- http` measures the same at length, and on more kinds of text.
 *
 *   npm run bench:gate [-- --pairs 7 --at-least 0.85 --model NAME@VERSION --workers N --threads N]
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import type { EngineInUse } from '../src/model/encoder.js';
import type { Manifest } from '../src/model/manifest.js';
import { TextTokenizer } from '../src/model/tokenizer.js';
import { bareEngine, openBareLoop } from './bare-loop.js';
import { overHttp } from './peers/server-peer.js';
import { makeTexts } from './peers/workloads.js';
import { machine, median } from './report.js';
import { startServer } from './server-process.js';

/** HTTP's share of the bare loop; the faster the loop, the more HTTP weighs beside it. */
const RATIO_MIN = { onnxruntime: 0.85, native: 0.65 };

const TEXTS_PER_REQUEST = 128;
const WORKLOAD = 'arXiv mixture';

const defaults = readConfig({ argv: [], env: {} }) as Config;
const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '7' },
    model: { type: 'string', default: defaults.model },
    workers: { type: 'string', default: String(availableParallelism()) },
    threads: { type: 'string', default: '1' },
    'at-least': { type: 'string' },
  },
});
const pairs = Number(values.pairs);
const [name, version] = values.model.split('@') as [string, string];
const folder = join(fileURLToPath(new URL('../models/', import.meta.url)), name, version);
const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest;

const server = await startServer(
  ...['--model', values.model, '--workers', values.workers, '--threads-per-worker', values.threads],
);
const info = (await (await fetch(`${server.url}/info`)).json()) as { engine: EngineInUse };
const engine = bareEngine(info.engine);
const ratioMin = Number(values['at-least'] ?? RATIO_MIN[engine]);
const http = overHttp(
  { url: server.url, model: values.model },
  server.child.pid!,
  async () => void (await server.close()),
);
const tokenizer = await TextTokenizer.load(folder);
const workload = (await makeTexts(1, folder)).bulk.find((one) => one.name === WORKLOAD)!;

/** The bare loop and then HTTP on one round's texts. @returns seconds of the loop over seconds of HTTP. */
async function pair(round: number): Promise<number> {
  const texts = workload.texts(round);
  const bare = await openBareLoop(
    texts.map((text) => tokenizer.cut(text, manifest.maxTokens, 'right').ids),
    {
      ...{ folder, manifest, engine },
      workers: Number(values.workers),
      threadsPerWorker: Number(values.threads),
      batchTokensMax: defaults.batchTokensMax,
    },
  );
  await bare.run();
  const bareSeconds = await bare.run();
  await bare.close();
  const httpSeconds = await http.bulk(texts, TEXTS_PER_REQUEST);
  const rates = [texts.length / bareSeconds, texts.length / httpSeconds].map((rate) => rate.toFixed(0));
  console.log(`bare loop ${rates[0]} texts/s, HTTP ${rates[1]} texts/s: ${(bareSeconds / httpSeconds).toFixed(3)}`);
  return bareSeconds / httpSeconds;
}

await http.bulk(workload.texts(0), TEXTS_PER_REQUEST);
const ratios: number[] = [];
for (let round = 1; round <= pairs; round++) ratios.push(await pair(round));
await http.close();
const ratio = median(ratios);
console.log(`${JSON.stringify(machine())} load average ${loadavg()[0]!.toFixed(1)}`);
console.log(
  `HTTP/bare (${info.engine}) ${ratio.toFixed(3)}, the median of ${pairs} pairs on ${WORKLOAD}; ${ratioMin} is asked`,
);
if (ratio < ratioMin) process.exitCode = 1;
