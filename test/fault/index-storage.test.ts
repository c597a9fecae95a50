/** A disk that refuses writes: full (a file-size limit), and one whose fsync fails (a preloaded shim). */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn, spawnSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { afterEach, expect, test } from 'vitest';
import { openCollections, temporaryFolder } from '../index/fixtures.js';

const CHILD = fileURLToPath(new URL('./index-storage-child.mjs', import.meta.url));
const SHIM = fileURLToPath(new URL('./fsync-shim.c', import.meta.url));
const canBuildShim = process.platform === 'linux' && spawnSync('cc', ['--version']).status === 0;
const hasLimits = process.platform !== 'win32';

interface Reply {
  readonly ok?: unknown;
  readonly code?: string;
  readonly message?: string;
}

class Store {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly lines: AsyncIterator<string>;

  constructor(command: string, args: string[], env: Record<string, string> = {}) {
    this.child = spawn(command, args, { env: { ...process.env, ...env } });
    this.child.stderr.pipe(process.stderr);
    const lines: Interface = createInterface({ input: this.child.stdout });
    this.lines = lines[Symbol.asyncIterator]();
    open.push(this.child);
  }

  async ask(question: object): Promise<Reply> {
    this.child.stdin.write(`${JSON.stringify(question)}\n`);
    return JSON.parse((await this.lines.next()).value) as Reply;
  }

  async close(): Promise<void> {
    this.child.stdin.write(`${JSON.stringify({ close: true })}\n`);
    await new Promise((resolve) => this.child.once('exit', resolve));
  }
}

const open: ChildProcessWithoutNullStreams[] = [];
afterEach(() => {
  for (const child of open.splice(0)) child.kill('SIGKILL');
});

/** Exactly the acknowledged documents are there, the file is sound, and it takes writes again. */
async function expectOnly(dataDir: string, ids: readonly number[], refused: number): Promise<void> {
  const db = new Database(join(dataDir, 'collections', 'docs', 'documents.sqlite'));
  expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
  db.close();
  const collection = (await openCollections(dataDir, { graphFrom: 50 })).get('docs');
  expect(
    await collection.get(
      ids.map((n) => `d${n}`),
      [],
    ),
  ).toHaveLength(ids.length);
  expect(await collection.get([`d${refused}`], [])).toEqual([]);
  await collection.upsert([{ id: 'after', vector: new Float32Array(16).fill(1) }]);
  expect(await collection.info()).toMatchObject({ documents: ids.length + 1, index: { vectors: ids.length + 1 } });
}

test.skipIf(!hasLimits)('a full disk refuses writes with STORAGE_FULL, reads go on, and nothing is torn', async () => {
  const dataDir = temporaryFolder();
  // 4 MiB a file, and EFBIG instead of the signal that would end the process.
  const command = `trap '' XFSZ; ulimit -f 4096; exec "$0" "$1" "$2"`;
  const store = new Store('bash', ['-c', command, process.execPath, CHILD, dataDir]);
  const stored: number[] = [];
  let reply: Reply = {};
  for (let n = 0; n < 200; n++) {
    reply = await store.ask({ upsert: n, bytes: 100_000 });
    if (reply.code) break;
    stored.push(n);
  }
  expect(reply).toMatchObject({ code: 'STORAGE_FULL', message: expect.stringMatching(/refused the write/) });
  expect(stored.length).toBeGreaterThan(5);
  const refused = stored.length;
  expect(await store.ask({ get: refused })).toEqual({ ok: 0 });
  expect(await store.ask({ get: stored[0] })).toEqual({ ok: 1 });
  expect(await store.ask({ search: stored[3] })).toEqual({ ok: `d${stored[3]}` });
  expect(await store.ask({ upsert: refused, bytes: 100_000 })).toMatchObject({ code: 'STORAGE_FULL' });
  await store.close();
  await expectOnly(dataDir, stored, refused);
});

test.skipIf(!canBuildShim)('a failing fsync refuses writes and copies, which work again when it does', async () => {
  const folder = temporaryFolder();
  const dataDir = join(folder, 'data');
  const shim = join(folder, 'fsync-shim.so');
  const failing = join(folder, 'fsync-fails');
  execFileSync('cc', ['-shared', '-fPIC', '-o', shim, SHIM, '-ldl']);
  const store = new Store(process.execPath, [CHILD, dataDir], { LD_PRELOAD: shim, FSYNC_FAILS_WHILE: failing });
  for (let n = 0; n < 60; n++) expect(await store.ask({ upsert: n })).toMatchObject({ ok: { upserted: 1 } });
  writeFileSync(failing, '');
  expect(await store.ask({ upsert: 60 })).toMatchObject({ code: 'STORAGE_FULL' });
  expect(await store.ask({ get: 60 })).toEqual({ ok: 0 });
  expect(await store.ask({ search: 7 })).toEqual({ ok: 'd7' });
  expect(await store.ask({ backUp: true })).toMatchObject({ code: 'STORAGE_FULL' });
  expect(readdirSync(join(dataDir, 'snapshots'))).toEqual([]);
  rmSync(failing);
  expect(await store.ask({ upsert: 61 })).toMatchObject({ ok: { upserted: 1 } });
  expect(await store.ask({ backUp: true })).toMatchObject({ ok: { collections: [{ documents: 61 }] } });
  await store.close();
  const stored = [...Array.from({ length: 60 }, (_, n) => n), 61];
  await expectOnly(dataDir, stored, 60);
});
