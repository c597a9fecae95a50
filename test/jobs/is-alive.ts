import { readFileSync } from 'node:fs';

/** Whether a process runs: one that has ended and waits for its parent to hear of it does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.startsWith('Z') !== true;
  } catch {
    return false;
  }
}
