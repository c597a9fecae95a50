/**
 * Linux gives every thread a niceness of its own. Threads that multiply matrices give way to those that answer: with all cores
 * busy, a request is read, tokenized and answered at once, and costs the forward pass that it interrupts next to nothing.
 */
import { readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';

/** Weighs a third of a thread that has the niceness of the process. */
const NICER = 5;

/** Lowers the calling thread's share of the cores, and that of threads it starts from now on. Elsewhere than on Linux: nothing. */
export function giveWay(): void {
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
    setPriority(thread, Math.min(constants.priority.PRIORITY_LOW, getPriority(thread) + NICER));
  } catch {
    // No /proc, or no permission: priority is a courtesy.
  }
}
