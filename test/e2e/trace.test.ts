/** The trace of a real server, as a viewer would read it. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startServer } from '../../bench/server-process.js';
import { REQUEST_STAGES, Tracer } from '../../src/trace.js';

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly ts: number;
  readonly dur: number;
  readonly tid: number;
  readonly id?: string;
  readonly args?: Readonly<Record<string, unknown>>;
}

const folder = mkdtempSync(join(tmpdir(), 'anchorage-trace-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const post = async (url: string, inputs: unknown): Promise<number> => {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/embed`, { method: 'POST', headers, body: JSON.stringify({ inputs }) });
  await response.arrayBuffer();
  return response.status;
};

describe('a server that is told to trace', () => {
  let events: TraceEvent[];
  beforeAll(async () => {
    const server = await startServer('--data-dir', folder, '--trace', '--workers', '2');
    const lists = Array.from({ length: 4 }, (_, i) => Array.from({ length: 40 }, (_, j) => `text ${j} of list ${i}`));
    expect(await Promise.all([...lists, 'a single text'].map((inputs) => post(server.url, inputs)))).toEqual(
      Array(5).fill(200),
    );
    expect(await post(server.url, '')).toBe(400);
    await server.close();
    events = JSON.parse(readFileSync(join(folder, 'trace.json'), 'utf8')) as TraceEvent[];
  });

  it('shows every request in all of its stages, each begun once and ended once, in their order', () => {
    const begun = events.filter(({ ph }) => ph === 'b');
    const ended = new Map(events.filter(({ ph }) => ph === 'e').map((event) => [event.id, event.ts]));
    expect(new Set(begun.map(({ id }) => id)).size).toBe(begun.length);
    expect(ended.size).toBe(begun.length);
    const stagesOf = new Map<unknown, Map<string, { start: number; end: number; args: TraceEvent['args'] }>>();
    for (const { name, id, ts, args } of begun) {
      const stages = stagesOf.get(args!.request) ?? new Map();
      stagesOf.set(args!.request, stages.set(name, { start: ts, end: ended.get(id)!, args }));
    }
    const whole = [...stagesOf.values()].filter((stages) => stages.size === REQUEST_STAGES.length);
    expect(whole).toHaveLength(5);
    expect(whole.map((stages) => stages.get('queue')!.args!.texts).sort()).toEqual([1, 40, 40, 40, 40]);
    for (const stages of whole) {
      const spans = REQUEST_STAGES.map((name) => stages.get(name)!);
      for (const { start, end } of spans) expect(end).toBeGreaterThanOrEqual(start);
      for (const [i, { start }] of spans.entries()) expect(start).toBeGreaterThanOrEqual(spans[i - 1]?.start ?? 0);
    }
    const refused = [...stagesOf.values()].find((stages) => stages.get('serialize')?.args?.status === 400);
    expect([...refused!.keys()]).toEqual(['parse', 'serialize']);
  });

  it('shows what each thread did, one thing at a time', () => {
    const names = new Map(
      events.filter(({ name }) => name === 'thread_name').map(({ tid, args }) => [tid, args!.name]),
    );
    expect([...names.values()]).toEqual(expect.arrayContaining(['tokenizer', 'worker 0']));
    const work = events.filter(({ ph }) => ph === 'X');
    expect(work.filter(({ name }) => name === 'inference').length).toBeGreaterThan(2);
    for (const tid of names.keys()) {
      const line = work.filter((event) => event.tid === tid).sort((a, b) => a.ts - b.ts || a.dur - b.dur);
      expect(line.length).toBeGreaterThan(0);
      // A microsecond for the rounding of either end.
      for (const [i, { ts, dur }] of line.entries())
        expect(ts + dur).toBeLessThanOrEqual((line[i + 1]?.ts ?? 1e15) + 1);
    }
  });
});

describe('a trace', () => {
  it('is not written where nobody asks for it', async () => {
    const dataDir = join(folder, 'quiet');
    const server = await startServer('--data-dir', dataDir);
    expect(await post(server.url, 'a text')).toBe(200);
    await server.close();
    expect(existsSync(join(dataDir, 'admin-token'))).toBe(true);
    expect(existsSync(join(dataDir, 'trace.json'))).toBe(false);
  });

  it('stops at its bound and is JSON all the same', async () => {
    const path = join(folder, 'bounded.json');
    const tracer = await Tracer.open(path, 2000);
    for (let i = 0; i < 100; i++) tracer.work('worker 0', 'inference', { startMs: i, endMs: i + 0.5 });
    await tracer.close();
    const text = readFileSync(path, 'utf8');
    expect(text.length).toBeLessThan(2200);
    const kept = (JSON.parse(text) as TraceEvent[]).filter(({ ph }) => ph === 'X');
    expect(kept.length).toBeGreaterThan(5);
    expect(kept.length).toBeLessThan(100);
  });
});
