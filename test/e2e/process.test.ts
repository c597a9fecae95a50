/** The process: its start, its ready line, its files, its end; and clients that leave without saying so. */
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type ServerProcess, startServer } from '../../bench/server-process.js';

/** A text of a few hundred tokens that no other has, so that no cache answers it. */
const longText = (seed: number): string =>
  `Text ${seed}. ${'The tide turns and the boats swing at their moorings. '.repeat(24)}`;

const postJson = (server: ServerProcess, path: string, body: object): Promise<Response> =>
  fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

async function metric(server: ServerProcess, series: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  if (line === undefined) throw new Error(`no series ${series} in /metrics`);
  return Number(line.slice(series.length + 1));
}

/** Asks until it holds; the test's own time limit ends a wait in vain. */
async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await nextTurn();
}

async function rawSocket(server: ServerProcess): Promise<Socket> {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  return socket;
}

const rawPost = (path: string, body: string, length = Buffer.byteLength(body)): string =>
  `POST ${path} HTTP/1.1\r\nhost: anchorage\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n${body}`;

describe('a start', () => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await startServer();
  });
  afterAll(() => server.close());

  it('prints one ready line that a program can read, and nothing else, on standard output', () => {
    expect(server.readyLine).toMatch(
      /^anchorage ready http:\/\/127\.0\.0\.1:\d+ model=anchorage-small@6-int8 pooling=ata gamma=0\.\d+ dimensions=384$/,
    );
  });

  it('makes an admin token that only its user can read, and shows it once', async () => {
    const file = join(server.dataDir, 'admin-token');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const token = readFileSync(file, 'utf8').trim();
    expect(token.length).toBeGreaterThanOrEqual(43);
    await eventually(async () => server.standardError().includes(token));
    const again = await startServer('--data-dir', server.dataDir).catch((error: Error) => error);
    if (again instanceof Error) expect(again.message).toMatch(/Another process|in use/i);
    else await again.close();
  });

  it('keeps onnxruntime from reporting to its maker', async () => {
    const home = mkdtempSync(join(tmpdir(), 'anchorage-home-'));
    vi.stubEnv('HOME', home);
    vi.stubEnv('ORT_DISABLE_TELEMETRY', undefined);
    try {
      const quiet = await startServer();
      await quiet.close();
      expect(readdirSync(home)).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
      rmSync(home, { recursive: true, force: true });
    }
  });

  it('answers its probes as an orchestrator asks them', async () => {
    const ask = async (path: string): Promise<unknown> => (await fetch(`${server.url}${path}`)).json();
    expect(await ask('/livez')).toEqual({ status: 'live' });
    expect(await ask('/readyz')).toEqual({ status: 'ready', model: 'anchorage-small@6-int8' });
  });
});

describe('a start that cannot be', () => {
  const refusal = async (...flags: string[]): Promise<string> => {
    const started = await startServer(...flags).catch((error: Error) => error.message);
    if (typeof started === 'string') return started;
    await started.close();
    throw new Error(`started with ${flags.join(' ')}`);
  };

  it.each([
    ['an unknown flag', ['--prot', '80'], /--prot is no setting/],
    ['a port out of bounds', ['--port', '70000'], /--port is "70000"; expected a whole number from 0 to 65535/],
    ['an open address without keys', ['--host', '0.0.0.0'], /no API key is set/],
    ['a model that is not there', ['--model', 'no-such-model'], /no-such-model/],
  ])('%s stops it with one line', async (_what, flags, line) => {
    const message = await refusal(...flags);
    expect(message).toMatch(line);
    expect(message.trim().split('\n')).toHaveLength(1);
  });
});

describe('an end', () => {
  it('answers what it has accepted, then leaves with code 0', async () => {
    const server = await startServer();
    const texts = Array.from({ length: 24 }, (_, i) => longText(i));
    const answer = postJson(server, '/embed', { inputs: texts });
    await eventually(async () => (await metric(server, 'anchorage_embed_tokens_total{lane="bulk"}')) > 0);
    const ended = server.close();
    const response = await answer;
    expect(response.status).toBe(200);
    expect((await response.json()) as number[][]).toHaveLength(24);
    expect(await ended).toBe(0);
  });

  it('keeps the admin token for the next start', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'anchorage-kept-'));
    try {
      const first = await startServer('--data-dir', dataDir);
      const token = readFileSync(join(dataDir, 'admin-token'), 'utf8');
      await first.close();
      const second = await startServer('--data-dir', dataDir);
      await second.close();
      expect(readFileSync(join(dataDir, 'admin-token'), 'utf8')).toBe(token);
      expect(second.standardError()).not.toContain(token.trim());
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  });
});

describe('a client that hangs up', () => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await startServer('--workers', '1');
  });
  afterAll(() => server.close());

  it('has its waiting texts dropped, and the next client is served', async () => {
    const texts = Array.from({ length: 400 }, (_, i) => longText(10_000 + i));
    const before = await metric(server, 'anchorage_embed_texts_total{lane="bulk"}');
    const socket = await rawSocket(server);
    socket.write(rawPost('/embed', JSON.stringify({ inputs: texts })));
    await eventually(async () => (await metric(server, 'anchorage_queue_depth{lane="bulk"}')) > 100);
    socket.destroy();
    await eventually(async () => (await metric(server, 'anchorage_queue_depth{lane="bulk"}')) === 0);
    const embedded = (await metric(server, 'anchorage_embed_texts_total{lane="bulk"}')) - before;
    expect(embedded).toBeLessThan(texts.length - 100);
    expect((await postJson(server, '/embed', { inputs: 'Still here?' })).status).toBe(200);
  });

  it('in the middle of its body harms nobody', async () => {
    const socket = await rawSocket(server);
    socket.write(rawPost('/embed', '{"inputs": "half a bo', 1000));
    socket.destroy();
    expect((await postJson(server, '/embed', { inputs: 'And now?' })).status).toBe(200);
  });

  it('while a long answer is streamed to it harms nobody', async () => {
    const socket = await rawSocket(server);
    const inputs = Array.from({ length: 64 }, (_, i) => `short ${i}`);
    socket.write(rawPost('/embed_all', JSON.stringify({ inputs })));
    await once(socket, 'data');
    socket.destroy();
    expect((await postJson(server, '/embed', { inputs: 'Steady?' })).status).toBe(200);
  });
});

describe('bytes that are no request', () => {
  it('are answered with 400 on that connection alone', async () => {
    const server = await startServer();
    try {
      const socket = await rawSocket(server);
      socket.write('what is this\r\n\r\n');
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString()).toMatch(/^HTTP\/1\.1 400 /);
      expect((await fetch(`${server.url}/livez`)).status).toBe(200);
    } finally {
      await server.close();
    }
  });
});
