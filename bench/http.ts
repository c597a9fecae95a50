/**
 * Texts a second of POST /embed against bare loops over the same texts, sorted by length, on the same model with the same
 * threads: one of onnxruntime-node, and one of the native encoder where the server uses it. A bare loop is handed token ids
 * and throws its answer away; HTTP tokenizes, batches, pools, normalizes and formats JSON. Interleaved rounds; ratios are of
 * each.
 *
 *   npm run bench [-- http --rounds 5 --model NAME@VERSION --workers N --threads N]
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import type { EngineInUse } from '../src/model/encoder.js';
import type { Manifest } from '../src/model/manifest.js';
import { type BareLoop, type BareLoopOptions, openBareLoop } from './bare-loop.js';
import { examplePapers, withoutRepeats } from './corpus.js';
import { keep, machine, median } from './report.js';
import { startServer } from './server-process.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TEXTS_PER_REQUEST = 128;
const REQUESTS_IN_FLIGHT = 8;
const CLOSING_BRACKET = 93;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    model: { type: 'string', default: (readConfig({ argv: [], env: {} }) as Config).model },
    workers: { type: 'string', default: '2' },
    threads: { type: 'string', default: '1' },
    'batch-tokens': { type: 'string', default: '512' },
    texts: { type: 'string', default: '2048' },
    keep: { type: 'boolean', default: false },
  },
});

const papers = examplePapers();
const count = Number(values.texts);
const workloads: Record<string, string[]> = {
  titles: withoutRepeats(
    papers.map(({ title }) => title),
    count,
  ),
  abstracts: withoutRepeats(
    papers.map(({ abstract }) => abstract),
    Math.ceil(count / 4),
  ),
  mixture: withoutRepeats(
    papers.flatMap(({ title, abstract }) => [title, abstract]),
    Math.ceil(count / 2),
  ),
};

async function postForBytes(url: string, body: object): Promise<Uint8Array> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Every text once, several requests in flight. @returns seconds. */
async function embedOverHttp(url: string, texts: readonly string[]): Promise<number> {
  const requests: string[][] = [];
  for (let at = 0; at < texts.length; at += TEXTS_PER_REQUEST) requests.push(texts.slice(at, at + TEXTS_PER_REQUEST));
  const start = performance.now();
  const client = async (): Promise<void> => {
    for (let inputs = requests.pop(); inputs; inputs = requests.pop()) {
      // Read, not parsed: parsing would take the client as long as formatting took the server, on the same cores.
      const body = await postForBytes(`${url}/embed`, { inputs });
      if (body.at(-1) !== CLOSING_BRACKET) throw new Error('the answer is not a JSON array');
    }
  };
  await Promise.all(Array.from({ length: REQUESTS_IN_FLIGHT }, client));
  return (performance.now() - start) / 1000;
}

const [name, version] = values.model.split('@') as [string, string];
const folder = join(ROOT, 'models', name, version);
const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest;
const server = await startServer(
  ...['--model', values.model, '--cache-bytes-max', '0', '--workers', values.workers],
  ...['--threads-per-worker', values.threads, '--batch-tokens-max', values['batch-tokens']],
);
const { engine } = (await (await fetch(`${server.url}/info`)).json()) as { engine: EngineInUse };
const engines: BareLoopOptions['engine'][] = engine === 'onnxruntime' ? ['onnxruntime'] : ['onnxruntime', 'native'];
const results: Record<string, object> = {};
for (const [workload, texts] of Object.entries(workloads)) {
  const tokenized = await postForBytes(`${server.url}/tokenize`, { inputs: texts });
  const tokens = JSON.parse(new TextDecoder().decode(tokenized)) as { id: number }[][];
  const ids = tokens.map((list) => list.slice(0, manifest.maxTokens).map(({ id }) => id));
  const tokenCount = ids.reduce((sum, list) => sum + list.length, 0);
  const loops: BareLoop[] = [];
  for (const one of engines) {
    const options = { workers: Number(values.workers), threadsPerWorker: Number(values.threads) };
    const batchTokensMax = Number(values['batch-tokens']);
    loops.push(await openBareLoop(ids, { folder, manifest, engine: one, ...options, batchTokensMax }));
  }
  const ways = [() => embedOverHttp(server.url, texts), ...loops.map((loop) => loop.run)];
  for (const way of ways) await way();
  const seconds: number[][] = ways.map(() => []);
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [i, way] of ways.entries()) seconds[i]!.push(await way());
  }
  await Promise.all(loops.map((loop) => loop.close()));
  const [http, ...bare] = seconds as [number[], ...number[][]];
  const rate = (runs: readonly number[]): string => (texts.length / median(runs)).toFixed(0);
  const ratios = bare.map((runs) => median(runs.map((run, round) => run / http[round]!)));
  results[workload] = {
    ...{ texts: texts.length, tokens: tokenCount, httpSeconds: http },
    bareSeconds: Object.fromEntries(engines.map((one, i) => [one, bare[i]])),
    ratios: Object.fromEntries(engines.map((one, i) => [one, ratios[i]])),
  };
  const beside = engines.map((one, i) => `bare ${one} ${rate(bare[i]!)}, HTTP/bare ${ratios[i]!.toFixed(3)}`);
  const tokensPerSecond = (tokenCount / median(http)).toFixed(0);
  console.log(`${workload.padEnd(10)} HTTP ${rate(http)} texts/s, ${tokensPerSecond} tokens/s; ${beside.join('; ')}`);
}
await server.close();
console.log(JSON.stringify(machine()));
if (values.keep) console.log(`kept in ${keep('http', { model: values.model, engine, settings: values, results })}`);
