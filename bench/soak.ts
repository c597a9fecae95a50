/**
 * Resident memory of the default model under load for long: requests of eight titles and abstracts of the examples, none of them
 * twice, so that the embedding cache fills and turns over; every fourth request is one sent before.
 *
 *   npm run bench -- soak [--minutes 60] [--requests-per-second 0] [--keep]
 *
 * Without a rate, four requests are under way all the time. Printed each minute, and kept: MiB resident and texts so far.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../src/config.js';
import { examplePapers } from './corpus.js';
import { LoadClient } from './peers/load.js';
import { residentBytes } from './peers/memory.js';
import { keep, machine, median } from './report.js';
import { startServer } from './server-process.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    'requests-per-second': { type: 'string', default: '0' },
    keep: { type: 'boolean', default: false },
  },
});
const IN_FLIGHT = 4;
const TEXTS_PER_REQUEST = 8;
const SAMPLE_MS = 10_000;
const MIB = 2 ** 20;
const REMEMBERED = 500;

const rate = Number(values['requests-per-second']);
const end = performance.now() + Number(values.minutes) * 60_000;
const defaults = readConfig({ argv: [], env: {} }) as Config;
const papers = examplePapers();
const sent: Buffer[] = [];
let asked = 0;
let texts = 0;

/** Eight texts that were never sent, or, each fourth time, a request of up to 500 before. */
function nextBody(client: LoadClient): Buffer {
  asked += 1;
  const again = sent[(asked * 7) % REMEMBERED];
  if (asked % 4 === 0 && again) return again;
  const body = client.body(
    Array.from({ length: TEXTS_PER_REQUEST }, (_, i) => {
      const { title, abstract } = papers[(asked * TEXTS_PER_REQUEST + i) % papers.length]!;
      return i % 2 === 0 ? `${title} ${asked}` : `${asked} ${abstract}`;
    }),
  );
  sent[asked % REMEMBERED] = body;
  return body;
}

async function load(client: LoadClient): Promise<void> {
  while (performance.now() < end) {
    const due = performance.now() + (rate > 0 ? (1000 * IN_FLIGHT) / rate : 0);
    await client.post(nextBody(client));
    texts += TEXTS_PER_REQUEST;
    await pause(Math.max(0, due - performance.now()));
  }
}

interface Minute {
  readonly minute: number;
  /** The median of the minute's samples. */
  readonly residentMiB: number;
  readonly texts: number;
}

async function watch(pid: number): Promise<Minute[]> {
  const minutes: Minute[] = [];
  while (performance.now() < end) {
    const samples: number[] = [];
    const minuteEnd = Math.min(end, performance.now() + 60_000);
    while (performance.now() < minuteEnd) {
      await pause(Math.min(SAMPLE_MS, Math.max(0, minuteEnd - performance.now())));
      samples.push(residentBytes(pid) ?? Number.NaN);
    }
    const minute = { minute: minutes.length + 1, residentMiB: Math.round(median(samples) / MIB), texts };
    minutes.push(minute);
    console.log(`minute ${minute.minute}: ${minute.residentMiB} MiB, ${minute.texts} texts`);
  }
  return minutes;
}

const server = await startServer();
const client = new LoadClient({ url: server.url, model: defaults.model });
try {
  const loads = Array.from({ length: IN_FLIGHT }, () => load(client));
  const [minutes] = await Promise.all([watch(server.child.pid!), ...loads]);
  const all = minutes.map(({ residentMiB }) => residentMiB);
  const tenth = Math.max(1, Math.floor(all.length / 10));
  const result = {
    model: defaults.model,
    cacheBytesMax: defaults.cacheBytesMax,
    requestsPerSecond: rate || 'as fast as answered',
    texts,
    mostMiB: Math.max(...all),
    secondTenthMiB: median(all.slice(tenth, 2 * tenth)),
    lastTenthMiB: median(all.slice(-tenth)),
    minutes,
  };
  const { minutes: _, ...summary } = result;
  console.log(
    JSON.stringify(
      values.keep ? { ...summary, kept: keep('soak', result) } : { machine: machine(), ...summary },
      null,
      2,
    ),
  );
} finally {
  client.close();
  await server.close();
}
