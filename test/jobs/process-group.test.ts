import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { endLeftover, type GroupOptions, type GroupPriority, ProcessGroup } from '../../src/jobs/process-group.js';
import { isAlive } from './is-alive.js';

const onLinux = process.platform === 'linux';

interface Started {
  readonly group: ProcessGroup;
  readonly output: () => string;
  readonly controller: AbortController;
}

async function start(script: string, options: Partial<GroupOptions> = {}): Promise<Started> {
  const controller = new AbortController();
  let output = '';
  const group = await ProcessGroup.start({
    program: process.execPath,
    args: ['-e', script],
    cwd: '.',
    priority: 'normal',
    env: process.env,
    onOutput: (bytes) => {
      output += bytes.toString();
    },
    onError: () => {},
    memoryBytesMax: 0,
    silenceMsMax: 60_000,
    graceMs: 1000,
    signal: controller.signal,
    ...options,
  });
  return { group, output: () => output, controller };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await pause(10);
}

describe('a group of processes', () => {
  it('tells how its leader ended', async () => {
    const { group, output } = await start('console.log("said"); process.exit(5)');
    expect(await group.finished()).toEqual({ ending: 'exit', code: 5, killedBy: null });
    expect(output()).toBe('said\n');
  });

  it('ends whole, grandchildren included, when it is told to', async () => {
    const script = `
      const { spawn } = require('node:child_process');
      const child = spawn(process.execPath, ['-e', 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000)'], { stdio: 'ignore' });
      process.on('SIGTERM', () => process.exit(143));
      console.log(child.pid);
      setInterval(() => {}, 1000);`;
    const { group, output, controller } = await start(script);
    const finished = group.finished();
    await until(() => output().includes('\n'));
    const grandchild = Number(output());
    expect(isAlive(grandchild)).toBe(true);
    controller.abort();
    expect(await finished).toMatchObject({ ending: 'aborted', code: 143 });
    await until(() => !isAlive(grandchild));
  });

  it('is killed where it does not end within its grace', async () => {
    const { group, output, controller } = await start(
      'process.on("SIGTERM", () => {}); console.log("deaf"); setInterval(() => {}, 1000)',
      { graceMs: 100 },
    );
    const finished = group.finished();
    await until(() => output() !== '');
    controller.abort();
    expect(await finished).toEqual({ ending: 'aborted', code: null, killedBy: 'SIGKILL' });
  });

  it('is ended when it writes nothing for too long', async () => {
    const { group } = await start('setInterval(() => {}, 1000)', { silenceMsMax: 500 });
    expect(await group.finished()).toMatchObject({ ending: 'silent', killedBy: 'SIGTERM' });
  });

  // Resident memory of other processes is read from /proc.
  it.runIf(onLinux)('is ended when it takes more memory than it may', async () => {
    const script = 'const held = []; setInterval(() => held.push(Buffer.alloc(64 << 20, 1)), 50)';
    const { group } = await start(script, { memoryBytesMax: 400 << 20 });
    expect(await group.finished()).toMatchObject({ ending: 'memory', killedBy: 'SIGKILL' });
  });

  // Scheduling classes and /proc are Linux's.
  it.runIf(onLinux)('runs below everything else', async () => {
    const standing = async (priority: GroupPriority) => {
      const args = ['/proc/self/stat', '/proc/self/oom_score_adj'];
      const { group, output } = await start('', { program: 'cat', args, priority });
      await group.finished();
      const [stat = '', oom] = output().split('\n');
      const fields = stat.split(') ')[1]!.split(' ');
      return { nice: fields[16], policy: fields[38], oom };
    };
    const [SCHED_OTHER, SCHED_IDLE] = ['0', '5'];
    expect(await standing('idle')).toEqual({ nice: '19', policy: SCHED_IDLE, oom: '900' });
    expect(await standing('low')).toEqual({ nice: '19', policy: SCHED_OTHER, oom: '900' });
  });

  it('says what is missing', async () => {
    const { group } = await start('', { program: 'no-such-program' });
    expect(await group.finished()).toMatchObject({ ending: 'exit', code: 127 });
  });
});

// The start of a process, which tells it from another of the same id, is read from /proc.
describe.runIf(onLinux)('a group that an earlier server left', () => {
  it('is ended by what was noted of it', async () => {
    const { group } = await start('process.on("SIGTERM", () => {}); setInterval(() => {}, 1000)');
    const finished = group.finished();
    expect(await endLeftover(group.identity)).toBe(true);
    expect(await finished).toMatchObject({ killedBy: 'SIGKILL' });
  });

  it('is left alone where its id belongs to another process by now', async () => {
    const { group, controller } = await start('setInterval(() => {}, 1000)');
    const finished = group.finished();
    expect(await endLeftover({ pid: group.identity.pid, startedAt: '1' })).toBe(false);
    expect(isAlive(group.identity.pid)).toBe(true);
    controller.abort();
    await finished;
  });
});
