/** Ten times as much at once as the queue holds, wave after wave, against a real server. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ServerProcess, startServer } from '../../bench/server-process.js';

const QUEUE_TEXTS = 200;
const TEXTS = 50;
const REQUESTS = 40;
const WAVES = 6;
/** What a heap may grow by until its next collection, and not what refused requests would add up to. */
const GROWTH_BYTES_MAX = 64 * 2 ** 20;

let server: ServerProcess;
beforeAll(async () => {
  server = await startServer('--queue-texts-max', String(QUEUE_TEXTS), '--workers', '1', '--cache-bytes-max', '0');
});
afterAll(() => server.close());

interface Answered {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly body: unknown;
}

async function embed(inputs: string | readonly string[]): Promise<Answered> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${server.url}/embed`, { method: 'POST', headers, body: JSON.stringify({ inputs }) });
  return { status: response.status, retryAfter: response.headers.get('retry-after'), body: await response.json() };
}

const residentBytes = (): number => {
  const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
};

async function queuedTexts(lane: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^anchorage_queue_depth\\{lane="${lane}"\\} (\\d+)$`, 'm').exec(text)![1]);
}

/** All requests at once, no text twice. */
const wave = (number: number): Promise<Answered>[] =>
  Array.from({ length: REQUESTS }, (_, request) =>
    embed(Array.from({ length: TEXTS }, (_, text) => `wave ${number}, request ${request}, text ${text} of the flood`)),
  );

describe('an overload of ten times the queue', () => {
  it('is answered or refused with 429 and Retry-After, while no more waits than the bound and queries go through', async () => {
    const answers = wave(0);
    let over = false;
    const all = Promise.all(answers).finally(() => {
      over = true;
    });
    const depths: number[] = [];
    const queries: number[] = [];
    while (!over) {
      depths.push(await queuedTexts('bulk'));
      queries.push((await embed(`query ${queries.length} meanwhile`)).status);
    }
    const statuses = (await all).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200, 429]));
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(QUEUE_TEXTS / TEXTS);
    for (const { status, retryAfter, body } of await all) {
      if (status === 200) expect(body).toHaveLength(TEXTS);
      else {
        expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
        expect(body).toMatchObject({ error_type: 'Overloaded' });
      }
    }
    expect(Math.max(...depths)).toBeLessThanOrEqual(QUEUE_TEXTS);
    expect(new Set(queries)).toEqual(new Set([200]));
  });

  it('is over with the last answer: the next request finds room', async () => {
    await Promise.all(wave(1));
    expect(await queuedTexts('bulk')).toBe(0);
    expect((await embed(Array.from({ length: QUEUE_TEXTS }, (_, i) => `text ${i} after the flood`))).status).toBe(200);
  });

  // Only Linux tells the resident memory of another process this way.
  it.skipIf(process.platform !== 'linux')('leaves nothing behind in memory', async () => {
    for (let number = 2; number < WAVES; number++) await Promise.all(wave(number));
    const before = residentBytes();
    for (let number = WAVES; number < 3 * WAVES; number++) await Promise.all(wave(number));
    expect(residentBytes() - before).toBeLessThan(GROWTH_BYTES_MAX);
  });
});
