/**
 * What the embed path costs: texts a second of Embedder.embed (tokenization, batching, pooling, threads; no HTTP) against
 * a bare loop of the same engine over the same texts, sorted by length, on the same model with the same threads.
 * Interleaved rounds; the ratio is of each pair. The processor time of both is compared too, because it holds on a machine
 * that is busy with other things.
 *
 *   npm run bench -- embedder [--model NAME@VERSION --models-dir DIR --workers N --threads N --batch-tokens N --rounds N]
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import { createMetrics } from '../src/metrics.js';
import { ModelRegistry } from '../src/model/registry.js';
import { bareEngine, openBareLoop } from './bare-loop.js';
import { examplePapers, withoutRepeats } from './corpus.js';
import { keep, machine, median } from './report.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const defaults = readConfig({ argv: [], env: {} }) as Config;
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: defaults.model },
    'models-dir': { type: 'string', default: join(ROOT, 'models') },
    workers: { type: 'string', default: '2' },
    threads: { type: 'string', default: '1' },
    'batch-tokens': { type: 'string', default: `${defaults.batchTokensMax}` },
    rounds: { type: 'string', default: '5' },
    texts: { type: 'string', default: '600' },
    keep: { type: 'boolean', default: false },
  },
});
const workers = Number(values.workers);
const threadsPerWorker = Number(values.threads);
const batchTokensMax = Number(values['batch-tokens']);

const papers = examplePapers();
const count = Number(values.texts);
const titles = papers.map(({ title }) => title);
const abstracts = papers.map(({ abstract }) => abstract);
const workloads: Record<string, string[]> = {
  titles: withoutRepeats(titles, count),
  abstracts: withoutRepeats(abstracts, count / 4),
  mixture: withoutRepeats(
    papers.flatMap(({ title, abstract }) => [title, abstract]),
    count / 2,
  ),
};

interface Cost {
  readonly seconds: number;
  /** Of all threads together. */
  readonly processorSeconds: number;
}

async function costOf(run: () => Promise<unknown>): Promise<Cost> {
  const usage = process.cpuUsage();
  const start = performance.now();
  await run();
  const { user, system } = process.cpuUsage(usage);
  return { seconds: (performance.now() - start) / 1000, processorSeconds: (user + system) / 1e6 };
}

const metrics = createMetrics();
const registry = await ModelRegistry.open({
  ...{ modelsDir: values['models-dir'], model: values.model, workers, threadsPerWorker, batchTokensMax },
  ...{ queueTextsMax: 100_000, cacheBytesMax: 0, engine: 'auto', device: 'cpu', metrics },
});
const embedder = registry.live;
const { manifest } = embedder;
const results: Record<string, object> = {};
for (const [workload, texts] of Object.entries(workloads)) {
  const tokens = await embedder.tokenize(texts, { addSpecialTokens: true });
  const ids = tokens.map((list) => list.slice(0, manifest.maxTokens).map(({ id }) => id));
  const bare = await openBareLoop(ids, {
    folder: join(values['models-dir'], manifest.name, manifest.version),
    ...{ manifest, engine: bareEngine(embedder.engine) },
    ...{ workers, threadsPerWorker, batchTokensMax },
  });
  const embed = async (): Promise<void> => {
    await embedder.embed(texts, { lane: 'bulk' });
  };
  await bare.run();
  await embed();
  const paddingBefore = (await metrics.paddingTokens.get()).values[0]!.value;
  const rounds: { bare: Cost; embed: Cost }[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    rounds.push({ bare: await costOf(bare.run), embed: await costOf(embed) });
  }
  await bare.close();
  const tokenCount = ids.reduce((sum, list) => sum + list.length, 0);
  const padded = ((await metrics.paddingTokens.get()).values[0]!.value - paddingBefore) / rounds.length;
  const ours = median(rounds.map((round) => round.embed.seconds));
  const theirs = median(rounds.map((round) => round.bare.seconds));
  const ratio = median(rounds.map((round) => round.bare.seconds / round.embed.seconds));
  const processorRatio = median(rounds.map((round) => round.bare.processorSeconds / round.embed.processorSeconds));
  results[workload] = { texts: texts.length, tokens: tokenCount, padded, rounds, ratio, processorRatio };
  const rates = `${(texts.length / ours).toFixed(0)} texts/s, ${(tokenCount / ours).toFixed(0)} tokens/s`;
  const loop = `bare loop ${(texts.length / theirs).toFixed(0)} texts/s`;
  const ratios = `embed/bare ${ratio.toFixed(3)} (by processor time ${processorRatio.toFixed(3)})`;
  console.log(
    `${workload.padEnd(10)} ${rates}; ${loop}; ${ratios}; padding ${((100 * padded) / tokenCount).toFixed(1)}%`,
  );
}
await registry.close();
console.log(JSON.stringify(machine()));
if (values.keep) console.log(`kept in ${keep('embedder', { model: values.model, settings: values, results })}`);
