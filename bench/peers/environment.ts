/**
 * Throw-away environments under bench/.peers: an npm project or a Python environment a peer, installed once for a given
 * list of packages and kept until that list changes.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const PEERS_FOLDER = fileURLToPath(new URL('../.peers/', import.meta.url));
export const DRIVERS_FOLDER = fileURLToPath(new URL('./drivers/', import.meta.url));
/** What every peer here runs on, and torch has wheels for. */
const PYTHON = '3.11';
const UV = 'uv==0.13.9';
const ERROR_CHARACTERS = 600;

/** @returns the folder in whose node_modules the packages lie. No install script runs: they fetch what CPUs do not need. */
export function npmEnvironment(name: string, packages: readonly string[]): string {
  return once(name, packages, (folder) => {
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
    runTool('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...packages], folder);
  });
}

/** @returns the folder of a virtual environment; its programs are in bin/. */
export function pythonEnvironment(name: string, packages: readonly string[]): string {
  return once(name, packages, (folder) => {
    runTool(uv(), ['venv', '--quiet', '--clear', '--python', PYTHON, folder]);
    runTool(uv(), ['pip', 'install', '--quiet', '--python', folder, ...packages]);
  });
}

/** @returns the program uv: the one on the path, else one of its own under bench/.peers. */
export function uv(): string {
  if (spawnSync('uv', ['--version']).status === 0) return 'uv';
  const folder = once('uv', [UV], (environment) => {
    runTool('python3', ['-m', 'venv', environment]);
    runTool(join(environment, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', UV]);
  });
  return join(folder, 'bin', 'uv');
}

/** Makes bench/.peers/<name> with `make`, unless it was made for the same `wanted` before. @returns the folder. */
export function once(name: string, wanted: readonly string[], make: (folder: string) => void): string {
  const folder = join(PEERS_FOLDER, name);
  const stamp = join(folder, '.made-for');
  const now = wanted.join('\n');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return folder;
  process.stderr.write(`peers: making ${name} (${wanted.join(', ')})\n`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  make(folder);
  writeFileSync(stamp, now);
  return folder;
}

/** @throws Error with the end of what the tool printed. */
export function runTool(tool: string, args: readonly string[], cwd?: string, env: Record<string, string> = {}): void {
  const { status, error, stdout, stderr } = spawnSync(tool, args, {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (error) throw new Error(`${tool} cannot be run: ${error.message}`);
  if (status !== 0) {
    const end = `${stdout}${stderr}`.trim().slice(-ERROR_CHARACTERS);
    throw new Error(`${tool} ${args.slice(0, 2).join(' ')} failed with exit code ${status}: ${end}`);
  }
}
