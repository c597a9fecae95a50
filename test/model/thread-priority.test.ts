import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadEmbedder } from './real-embedder.js';

/** @returns of every thread of this process its niceness (field 19 of its stat). */
function niceness(): number[] {
  return readdirSync('/proc/self/task').map((thread) => {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]);
  });
}

// Only Linux gives each thread a niceness of its own.
describe.skipIf(!existsSync('/proc/self/task'))('priorities', () => {
  it('are lower for inference threads, and for nobody else', async () => {
    const before = niceness();
    const usual = Math.min(...before);
    const lowered = (all: readonly number[]): number => all.filter((nice) => nice === Math.min(19, usual + 5)).length;
    const embedder = await loadEmbedder({ workers: 2 });
    const during = niceness();
    expect(lowered(during) - lowered(before)).toBeGreaterThanOrEqual(2);
    expect(during.filter((nice) => nice === usual).length).toBeGreaterThanOrEqual(before.length - lowered(before));
    await embedder.close();
  });
});
