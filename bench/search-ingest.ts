/**
 * Ingest over HTTP: documents a second that a real server stores durably, as NDJSON in one request, client and server on the
 * same cores. With texts, which are embedded: titles, and abstracts; and with vectors given, which are only stored. The clock
 * stops at the answer's last line, when all is on disk; the graph may still be growing then, and how long is told too.
 *
 *   npm run bench -- search-ingest --papers FILE.jsonl.gz [--titles 4000] [--abstracts 1000] [--given 20000] [--rounds 3] [--keep]
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { keep, machine, median } from './report.js';
import { type ServerProcess, startServer } from './server-process.js';

const { values } = parseArgs({
  options: {
    papers: { type: 'string' },
    titles: { type: 'string', default: '4000' },
    abstracts: { type: 'string', default: '1000' },
    given: { type: 'string', default: '20000' },
    rounds: { type: 'string', default: '3' },
    keep: { type: 'boolean', default: false },
  },
});
if (!values.papers) throw new Error('--papers FILE is needed: gzipped JSONL of {query, positive}');

const DIMENSIONS = 384;
const papers = gunzipSync(readFileSync(values.papers))
  .toString()
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { query: string; positive: string });

interface Workload {
  readonly count: number;
  /** Line n of round r: no text comes twice, or the cache of embeddings would answer. */
  readonly line: (n: number, round: number) => object;
}

const textOf = (field: 'query' | 'positive', count: number) => (n: number, round: number) => ({
  text: papers[(round * count + n) % papers.length]![field],
});
const counts = { titles: Number(values.titles), abstracts: Number(values.abstracts), given: Number(values.given) };
const WORKLOADS: Record<string, Workload> = {
  'titles, embedded': { count: counts.titles, line: textOf('query', counts.titles) },
  'abstracts, embedded': { count: counts.abstracts, line: textOf('positive', counts.abstracts) },
  'titles with vectors': {
    count: counts.given,
    line: (n) => ({ text: papers[n % papers.length]!.query, vector: vectorOf(n) }),
  },
  'vectors alone': { count: counts.given, line: (n) => ({ vector: vectorOf(n) }) },
};

/** Of nine digits, as a client prints float32. */
function vectorOf(seed: number): number[] {
  let state = seed + 1;
  return Array.from({ length: DIMENSIONS }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(state / 2 ** 32 - 0.5);
  });
}

interface Rate {
  readonly documentsPerSecond: number;
  /** Until every vector is in the graph as well; the same where the collection is too small to have one. */
  readonly linkedPerSecond: number;
}

async function ingest(
  { url }: ServerProcess,
  collection: string,
  { count, line }: Workload,
  round: number,
): Promise<Rate> {
  const lines = Array.from({ length: count }, (_, n) => JSON.stringify({ id: String(n), ...line(n, round) }));
  const body = Buffer.from(lines.join('\n'));
  const headers = { 'content-type': 'application/x-ndjson' };
  const started = performance.now();
  const response = await fetch(`${url}/documents?collection=${collection}`, { method: 'POST', headers, body });
  const progress = (await response.text()).trim().split('\n');
  const stored = performance.now();
  const last = JSON.parse(progress.at(-1)!) as { done?: boolean; upserted?: number };
  if (!last.done || last.upserted !== count) throw new Error(`not all was stored: ${progress.at(-1)}`);
  while ((await backlog(url, collection)) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const perSecond = (until: number): number => count / ((until - started) / 1000);
  return { documentsPerSecond: perSecond(stored), linkedPerSecond: perSecond(performance.now()) };
}

async function backlog(url: string, collection: string): Promise<number> {
  const response = await fetch(`${url}/collections/${collection}`);
  return ((await response.json()) as { index: { backlog: number } }).index.backlog;
}

console.log(JSON.stringify(machine()));
const outcome: Record<string, object> = {};
for (const [name, workload] of Object.entries(WORKLOADS)) {
  const rates: Rate[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    const server = await startServer();
    await ingest(server, 'warm', { ...workload, count: 200 }, 40);
    rates.push(await ingest(server, 'bench', workload, round));
    await server.close();
  }
  const documentsPerSecond = median(rates.map((rate) => rate.documentsPerSecond));
  const linkedPerSecond = median(rates.map((rate) => rate.linkedPerSecond));
  outcome[name] = { documents: workload.count, documentsPerSecond, linkedPerSecond, rates };
  const linked = `${linkedPerSecond.toFixed(0)} until in the graph`;
  console.log(`${name.padEnd(20)} ${workload.count}: ${documentsPerSecond.toFixed(0)} documents/s, ${linked}`);
}
if (values.keep) console.log(keep('search-ingest', outcome));
