/** Resident memory of a peer: its process and all below it, as Linux counts it. */
import { readdirSync, readFileSync } from 'node:fs';

/** @returns bytes, or undefined where there is no /proc. */
export function residentBytes(pid: number): number | undefined {
  try {
    return [pid, ...descendants(pid)].reduce((sum, one) => sum + residentOf(one), 0);
  } catch {
    return undefined;
  }
}

function residentOf(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib ?? 0) * 1024;
}

function descendants(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
  return children.flatMap((child) => [child, ...descendants(child)]);
}
