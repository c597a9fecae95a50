/** A real server in a process of its own, for benches, examples and tests: built code, a free port, a throw-away data directory. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** As the container image starts it. */
const NODE_FLAGS = ['--max-semi-space-size=2'];
const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));

export interface ServerProcess {
  readonly url: string;
  readonly readyLine: string;
  readonly dataDir: string;
  readonly child: ChildProcess;
  /** What it has written to standard error so far. */
  readonly standardError: () => string;
  /** Asks it to end, waits until it has, and removes the data directory. @returns its exit code. */
  readonly close: () => Promise<number | null>;
}

/** A program that fails must not leave a server behind: it ends with this process at the latest. */
export function leaveNoneBehind(child: ChildProcess): void {
  const kill = (): boolean => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
}

/** @throws Error with the server's standard error where it ends before it is ready. */
export async function startServer(...flags: string[]): Promise<ServerProcess> {
  const dataDir = mkdtempSync(join(tmpdir(), 'anchorage-bench-'));
  const args = [MAIN, '--port', '0', '--data-dir', dataDir, '--log-level', 'error', ...flags];
  const env = { ...process.env, MALLOC_ARENA_MAX: '2' };
  const child = spawn(process.execPath, [...NODE_FLAGS, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env });
  leaveNoneBehind(child);
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaints += chunk.toString();
  });
  const readyLine = await Promise.race([
    once(createInterface(child.stdout), 'line').then(([line]) => line as string),
    once(child, 'exit').then(() => Promise.reject(new Error(`the server ended at once: ${complaints}`))),
  ]);
  const url = /ready (\S+)/.exec(readyLine)?.[1];
  if (!url) throw new Error(`not a ready line: ${readyLine}`);
  return {
    url,
    readyLine,
    dataDir,
    child,
    standardError: () => complaints,
    close: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, 'exit');
        child.kill('SIGTERM');
        await ended;
      }
      rmSync(dataDir, { recursive: true, force: true });
      return child.exitCode;
    },
  };
}
