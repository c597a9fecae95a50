/**
 * A subprocess and all that it starts, as one group: started below everything else in priority, watched for memory and
 * silence, and ended whole.
 *
 * Priority `idle`: on Linux SCHED_IDLE, where `chrt` is there: a core goes to the group only when nobody else wants it.
 * `low`: nice 19, which is what `idle` falls back to. With autogroup scheduling nice counts only inside a session, so the
 * new session's own share is lowered, too. The kernel is told to end the group first when memory runs out.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const PAGE_BYTES = 4096;
const WATCH_EVERY_MS = 1000;

const OOM_FIRST = '{ echo 900 > /proc/self/oom_score_adj; } 2>/dev/null';
const LOW_SESSION = '{ echo 19 > /proc/self/autogroup; } 2>/dev/null';
/** Bodies of `sh -c` with the program behind them. Every line but the last may fail: priority is a courtesy, not a condition. */
const LAUNCH = {
  normal: [OOM_FIRST, 'exec "$@"'],
  low: [OOM_FIRST, LOW_SESSION, 'exec nice -n 19 "$@"'],
  idle: [
    OOM_FIRST,
    LOW_SESSION,
    'if command -v chrt >/dev/null 2>&1 && chrt -i 0 true 2>/dev/null; then exec chrt -i 0 nice -n 19 "$@"; fi',
    'exec nice -n 19 "$@"',
  ],
} as const;
export type GroupPriority = keyof typeof LAUNCH;

export interface GroupOptions {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly priority: GroupPriority;
  readonly onOutput: (bytes: Buffer) => void;
  readonly onError: (bytes: Buffer) => void;
  /** Resident bytes of the whole group; above it the group is ended. 0: no bound. */
  readonly memoryBytesMax: number;
  /** Neither stream wrote anything for so long: the group is ended. */
  readonly silenceMsMax: number;
  /** Aborted: the group is asked to end. */
  readonly signal: AbortSignal;
  /** Between asking (SIGTERM, a checkpoint is written) and ending (SIGKILL). */
  readonly graceMs: number;
}

/** Why the group ended: by itself, or because it was made to. */
export type Ending = 'exit' | 'aborted' | 'silent' | 'memory';

export interface GroupOutcome {
  readonly ending: Ending;
  /** Exit code; null where a signal ended it. */
  readonly code: number | null;
  readonly killedBy: NodeJS.Signals | null;
}

/** What is needed to find a group again after the server's end. */
export interface GroupIdentity {
  /** Process id of the leader, which is the group's, too. */
  readonly pid: number;
  /** When the leader started, in the kernel's words; undefined where it cannot be told. */
  readonly startedAt: string | undefined;
}

export class ProcessGroup {
  readonly identity: GroupIdentity;
  private readonly child: ChildProcess;
  private readonly options: GroupOptions;
  private ending: Ending = 'exit';
  private lastOutputMs = performance.now();

  /** @throws the spawn's error: a missing program has code ENOENT. */
  static async start(options: GroupOptions): Promise<ProcessGroup> {
    const child = spawn(
      '/bin/sh',
      ['-c', LAUNCH[options.priority].join('\n'), 'sh', options.program, ...options.args],
      {
        cwd: options.cwd,
        env: options.env as NodeJS.ProcessEnv,
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    await once(child, 'spawn');
    return new ProcessGroup(child, options);
  }

  private constructor(child: ChildProcess, options: GroupOptions) {
    this.child = child;
    this.options = options;
    this.identity = { pid: child.pid!, startedAt: startOf(child.pid!) };
    child.stdout!.on('data', (bytes: Buffer) => this.heard(bytes, options.onOutput));
    child.stderr!.on('data', (bytes: Buffer) => this.heard(bytes, options.onError));
  }

  /** Resolves when the leader has ended and its pipes are read; nothing of the group is left then. */
  async finished(): Promise<GroupOutcome> {
    const { signal } = this.options;
    const closed = once(this.child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
    const watch = setInterval(() => this.watch(), WATCH_EVERY_MS);
    const stop = (): void => this.end('aborted');
    // A child of the leader's may hold the pipes open: what is left of the group goes when the leader has gone.
    this.child.once('exit', () => signalGroup(this.identity.pid, 'SIGKILL'));
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      const [code, killedBy] = await closed;
      return { ending: this.ending, code, killedBy };
    } finally {
      clearInterval(watch);
      signal.removeEventListener('abort', stop);
    }
  }

  private heard(bytes: Buffer, listener: (bytes: Buffer) => void): void {
    this.lastOutputMs = performance.now();
    listener(bytes);
  }

  private watch(): void {
    const { memoryBytesMax, silenceMsMax } = this.options;
    if (performance.now() - this.lastOutputMs > silenceMsMax) this.end('silent');
    else if (memoryBytesMax > 0 && residentBytes(this.identity.pid) > memoryBytesMax) this.end('memory');
  }

  /** Asks the whole group to end, then makes it. A second call changes nothing. */
  private end(ending: Ending): void {
    if (this.ending !== 'exit') return;
    this.ending = ending;
    const { pid } = this.identity;
    // One above its memory is not given the time to take more.
    signalGroup(pid, ending === 'memory' ? 'SIGKILL' : 'SIGTERM');
    const last = setTimeout(() => signalGroup(pid, 'SIGKILL'), this.options.graceMs);
    this.child.once('close', () => clearTimeout(last));
  }
}

/** Ends a group that an earlier life of the server left, if it is still the one that was noted. Resolves when it is gone. */
export async function endLeftover({ pid, startedAt }: GroupIdentity): Promise<boolean> {
  if (startedAt === undefined || startOf(pid) !== startedAt) return false;
  signalGroup(pid, 'SIGKILL');
  while (startOf(pid) === startedAt && !isZombie(pid)) await pause(50);
  return true;
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Fields of /proc/<pid>/stat behind the command's name, which may hold anything: state, ppid, pgrp, …; undefined elsewhere than on Linux. */
function statOf(pid: number | string): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

const STATE = 0;
const GROUP = 2;
const START = 19;
const RESIDENT_PAGES = 21;

const startOf = (pid: number): string | undefined => statOf(pid)?.[START];
const isZombie = (pid: number): boolean => statOf(pid)?.[STATE] === 'Z';

/** Sum over the processes of a group; 0 where /proc is not there. */
function residentBytes(group: number): number {
  let pages = 0;
  let entries: string[];
  try {
    entries = readdirSync('/proc');
  } catch {
    return 0;
  }
  for (const entry of entries) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = statOf(entry);
    if (stat && Number(stat[GROUP]) === group) pages += Number(stat[RESIDENT_PAGES]);
  }
  return pages * PAGE_BYTES;
}
