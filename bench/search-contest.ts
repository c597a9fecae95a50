/**
 * Runs one contender of bench/search.ts. Each is a driver in a process of its own, ours like the peers', that is started
 * twice over one folder:
 *
 *   build   base.f32 -> a database in <folder>/db                    {version, vectorsPerSecond, diskBytes}
 *   serve   the database -> first answer, curve, concurrent rate     {startMs, startPeakBytes, points, concurrent, steadyBytes}
 *
 * The folder has base.f32 and queries.f32 (raw float32 rows) and task.json (Task). A driver prints its outcome as the last
 * line of its standard output. Document n has the id String(n) and the metadata of metadataOf(n).
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelIdentity } from '../src/index/collection-settings.js';
import type { Vectors } from './search-vectors.js';

export interface Task {
  readonly dimensions: number;
  readonly model: ModelIdentity;
  readonly k: number;
  /** Passes over the ladder; of each point the fastest counts. */
  readonly rounds: number;
  /** efSearch, or what a contender has in its place. */
  readonly ladder: readonly number[];
  /** A query's true k nearest, best first. */
  readonly truth: readonly (readonly string[])[];
  /** Queries under way at once in the concurrent measure. */
  readonly concurrency: number;
  /** Recall at which the concurrent rate is measured: at the narrowest point of the curve that has it. */
  readonly concurrentRecall: number;
}

export interface Point {
  /** efSearch and what else was set: "64", "64, refine 4". */
  readonly parameter: string;
  readonly recallAt10: number;
  /** One query at a time. */
  readonly queriesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** A query's processor time, of all threads of the process: holds on a machine that is busy with other things. */
  readonly processorMs: number;
}

export interface Built {
  readonly version: string;
  /** From the first vector given to the last one searchable by the index. */
  readonly vectorsPerSecond: number;
  /** A vector's processor time, of all threads. */
  readonly processorMs: number;
}

export interface Served {
  /** From the start of the process to its first answer from the index. */
  readonly startMs: number;
  /** Most resident memory up to then, of the whole process. */
  readonly startPeakBytes: number;
  readonly points: readonly Point[];
  readonly concurrent: { readonly parameter: string; readonly queriesPerSecond: number } | undefined;
  /** Resident memory after all searches, of the whole process. */
  readonly steadyBytes: number;
}

export interface Outcome extends Built, Served {
  readonly diskBytes: number;
}

/** A program and its arguments; mode and folder are added behind them. */
export interface Contender {
  readonly name: string;
  readonly command: readonly string[];
}

export const driver = (name: string): string => fileURLToPath(new URL(`./search-peers/${name}`, import.meta.url));

export function writeTask(folder: string, { base, queries }: Pick<Vectors, 'base' | 'queries'>, task: Task): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'base.f32'), raw(base));
  writeFileSync(join(folder, 'queries.f32'), raw(queries));
  writeFileSync(join(folder, 'task.json'), JSON.stringify(task));
}

/** @throws Error with the driver's complaint. */
export function compete({ command }: Contender, folder: string): Outcome {
  const database = join(folder, 'db');
  rmSync(database, { recursive: true, force: true });
  mkdirSync(database);
  const built = runDriver<Built>(command, 'build', folder);
  const diskBytes = bytesBelow(database);
  return { ...built, diskBytes, ...runDriver<Served>(command, 'serve', folder) };
}

export function runDriver<T>([program, ...given]: readonly string[], mode: string, folder: string): T {
  const args = [...given, mode, folder];
  const env = { ...process.env, ANCHORAGE_BENCH_SPAWNED_MS: String(Date.now()) };
  const { stdout, stderr, status, error } = spawnSync(program!, args, { encoding: 'utf8', maxBuffer: 1e8, env });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.slice(-2000)}`);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
}

function bytesBelow(folder: string): number {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
}

const raw = (rows: readonly Float32Array[]): Buffer =>
  Buffer.concat(rows.map((row) => Buffer.from(row.buffer, row.byteOffset, row.byteLength)));
