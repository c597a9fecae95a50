/** SIGKILL to the server while a job runs: the next start ends what is left of it, and goes on from its checkpoint. */
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type ServerProcess, startServer } from '../../bench/server-process.js';
import { isAlive } from '../jobs/is-alive.js';
import { standInTrainer, TRAINS } from '../jobs/stand-in-trainer.js';

const headers = { authorization: 'Bearer token', 'content-type': 'application/json' };
let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'anchorage-crash-'));
  mkdirSync(join(dataDir, 'base'));
  writeFileSync(join(dataDir, 'pairs.jsonl'), '{}');
  vi.stubEnv('ANCHORAGE_ADMIN_TOKEN', 'token');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dataDir, { recursive: true, force: true });
});

const start = (trainerDir: string): Promise<ServerProcess> =>
  startServer('--data-dir', dataDir, '--workers', '1', '--job-priority', 'normal', '--trainer-dir', trainerDir);

async function jobOf(server: ServerProcess, id: string): Promise<Record<string, unknown>> {
  return (await fetch(`${server.url}/admin/jobs/${id}`, { headers })).json() as Promise<Record<string, unknown>>;
}

async function until(holds: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await holds())) await pause(20);
}

async function kill(server: ServerProcess): Promise<void> {
  const ended = once(server.child, 'exit');
  server.child.kill('SIGKILL');
  await ended;
}

it('a job of a killed server is ended, and gone on with by the next', async () => {
  // One that outlives its server: it neither writes to the pipe that is broken nor ends.
  const trainerDir = standInTrainer(`
    import { appendFileSync, existsSync, mkdirSync } from 'node:fs';
    const output = flag('recipe').replace('recipe.json', 'run');
    mkdirSync(output, { recursive: true });
    const again = existsSync(output + '/pids');
    appendFileSync(output + '/pids', process.pid + '\\n');
    if (again) { emit('done', { folder: output, steps: 1 }); } else setInterval(() => {}, 1000);`);
  const first = await start(trainerDir);
  const body = JSON.stringify({ type: 'finetune', params: { dataset: 'pairs.jsonl', base: 'base' } });
  const { id } = (await (await fetch(`${first.url}/admin/jobs`, { method: 'POST', headers, body })).json()) as {
    id: string;
  };
  const pids = join(dataDir, 'jobs', id, 'run', 'pids');
  await until(() => existsSync(pids));
  const left = Number(readFileSync(pids, 'utf8'));
  await until(async () => (await jobOf(first, id)).state === 'running');
  await kill(first);
  expect(isAlive(left)).toBe(true);

  const second = await start(trainerDir);
  try {
    await until(async () => (await jobOf(second, id)).state === 'succeeded');
    expect((await jobOf(second, id)).attempts).toBe(2);
    expect(isAlive(left)).toBe(false);
  } finally {
    await second.close();
  }
});

it('a job that brings the server down each time is given up', async () => {
  const trainerDir = standInTrainer(TRAINS(1_000_000, 50));
  let server = await start(trainerDir);
  const body = JSON.stringify({ type: 'finetune', params: { dataset: 'pairs.jsonl', base: 'base' } });
  const { id } = (await (await fetch(`${server.url}/admin/jobs`, { method: 'POST', headers, body })).json()) as {
    id: string;
  };
  for (let attempt = 1; attempt <= 3; attempt++) {
    await until(async () => {
      const { attempts, state } = await jobOf(server, id);
      return state === 'running' && attempts === attempt;
    });
    await kill(server);
    server = await start(trainerDir);
  }
  try {
    expect(await jobOf(server, id)).toMatchObject({ state: 'failed', error: { reason: 'server' } });
  } finally {
    await server.close();
  }
});
