/**
 * One command of the trainer, from its arguments to its outcome. Its exit codes are those of docs/trainer-events.md; every
 * other end than 0 becomes a JobFailure with the trainer's own message and its last lines.
 */

import { basename, dirname, join, resolve } from 'node:path';
import type { Config } from '../config.js';
import { type FailureReason, JobFailure } from './job.js';
import type { JobLog } from './job-log.js';
import { LineSplitter } from './line-splitter.js';
import {
  type GroupIdentity,
  type GroupOptions,
  type GroupOutcome,
  type GroupPriority,
  ProcessGroup,
} from './process-group.js';
import { type TrainerEvent, trainerEvent } from './trainer-events.js';

export interface TrainerLimits {
  /** The folder named trainer. */
  readonly trainerDir: string;
  /** What the trainer sees as its environment: the server's, without its secrets. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Threads of its tensor operations; 0: its own choice, which is all cores. */
  readonly threads: number;
  readonly priority: GroupPriority;
  readonly memoryBytesMax: number;
  readonly silenceMsMax: number;
  readonly graceMs: number;
}

/** What the settings say of the trainer. */
export const trainerLimits = (
  config: Pick<Config, 'trainerDir' | 'jobThreads' | 'jobPriority' | 'jobMemoryBytesMax' | 'jobSilenceSecondsMax'>,
  environment: TrainerLimits['environment'],
): TrainerLimits => ({
  trainerDir: config.trainerDir,
  environment,
  threads: config.jobThreads,
  priority: config.jobPriority,
  memoryBytesMax: config.jobMemoryBytesMax,
  silenceMsMax: config.jobSilenceSecondsMax * 1000,
  graceMs: GRACE_MS,
});

export interface TrainerCall {
  readonly command: string;
  readonly args: readonly string[];
  readonly log: JobLog;
  readonly signal: AbortSignal;
  readonly onEvent: (event: TrainerEvent) => void;
  /** Called once, before anything else of the process is heard. */
  readonly onStart: (identity: GroupIdentity) => Promise<void>;
}

/** Time for a checkpoint between SIGTERM and SIGKILL. */
const GRACE_MS = 20_000;

const REASONS: Readonly<Record<number, FailureReason>> = {
  2: 'input',
  3: 'parity',
  4: 'endpoint',
  5: 'diverged',
  6: 'disk',
};

/** The job was cancelled or the server ends: no failure. */
export class Stopped extends Error {}

/** @returns the fields of its `done` event. @throws JobFailure; Stopped where the signal ended it. */
export async function runTrainer(call: TrainerCall, limits: TrainerLimits): Promise<TrainerEvent> {
  const root = dirname(resolve(limits.trainerDir));
  const python = join(resolve(limits.trainerDir), '.venv', 'bin', 'python');
  let done: TrainerEvent = { event: 'done' };
  let error: TrainerEvent | undefined;
  const hear = (event: TrainerEvent): void => {
    if (event.event === 'done') done = event;
    if (event.event === 'error') error = event;
    call.onEvent(event);
  };
  const args = ['-m', basename(resolve(limits.trainerDir)), call.command, ...call.args];
  const outcome = await runProgram({ ...call, program: python, args, cwd: root, hear }, limits);
  if (outcome.ending === 'exit' && outcome.code === 0) return done;
  throw failureOf(call, limits, outcome, error);
}

export interface ProgramCall extends Omit<TrainerCall, 'command' | 'onEvent'> {
  readonly program: string;
  readonly cwd: string;
  readonly hear: (event: TrainerEvent) => void;
  readonly onErrorLine?: (line: string) => void;
}

/** Any program of the trainer's: lines of both streams to the log, events to who listens. @throws Stopped */
export async function runProgram(call: ProgramCall, limits: TrainerLimits): Promise<GroupOutcome> {
  const { log, signal } = call;
  if (signal.aborted) throw new Stopped();
  const output = new LineSplitter((line) => {
    log.write('out', line);
    const event = trainerEvent(line);
    if (event) call.hear(event);
  });
  const errors = new LineSplitter((line) => {
    log.write('err', line);
    call.onErrorLine?.(line);
  });
  log.forgetLastLines();
  log.write('job', `starts ${call.program} ${call.args.join(' ')}`);
  const options: GroupOptions = {
    program: call.program,
    args: call.args,
    cwd: call.cwd,
    env: environmentOf(limits),
    onOutput: (bytes) => output.push(bytes),
    onError: (bytes) => errors.push(bytes),
    priority: limits.priority,
    memoryBytesMax: limits.memoryBytesMax,
    silenceMsMax: limits.silenceMsMax,
    graceMs: limits.graceMs,
    signal,
  };
  const group = await ProcessGroup.start(options);
  const noted = call.onStart(group.identity);
  const outcome = await group.finished();
  await noted;
  output.end();
  errors.end();
  log.write('job', `ended: ${outcome.ending}, code ${outcome.code}${outcome.killedBy ? `, ${outcome.killedBy}` : ''}`);
  if (outcome.ending === 'aborted') throw new Stopped();
  return outcome;
}

function environmentOf({ environment, threads }: TrainerLimits): Record<string, string | undefined> {
  const bounded = threads > 0 ? { OMP_NUM_THREADS: String(threads), MKL_NUM_THREADS: String(threads) } : {};
  return { ...environment, PYTHONUNBUFFERED: '1', TOKENIZERS_PARALLELISM: 'false', ...bounded };
}

function failureOf(
  { command, log }: TrainerCall,
  limits: TrainerLimits,
  { ending, code, killedBy }: GroupOutcome,
  error: TrainerEvent | undefined,
): JobFailure {
  const lines = log.lastLines;
  if (ending === 'silent') {
    const seconds = Math.round(limits.silenceMsMax / 1000);
    return new JobFailure('silent', `the trainer's ${command} wrote nothing for ${seconds} s and was ended`, lines);
  }
  if (ending === 'memory') {
    const gigabytes = (limits.memoryBytesMax / 1e9).toFixed(1);
    const message = `the trainer's ${command} took more than ${gigabytes} GB of memory and was ended; lower batchSize or maxTokens, or raise --job-memory-bytes-max`;
    return new JobFailure('memory', message, lines);
  }
  const reason = (code === null ? undefined : REASONS[code]) ?? 'trainer';
  const said = typeof error?.message === 'string' ? error.message : undefined;
  const how = killedBy ? `was ended by ${killedBy}` : `ended with exit code ${code}`;
  return new JobFailure(reason, said ?? `the trainer's ${command} ${how}`, lines);
}
