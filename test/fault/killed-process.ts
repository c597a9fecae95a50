/** Runs a script until it has said that something happened and then some, and kills it. */
import { spawn } from 'node:child_process';
import { expect } from 'vitest';

/**
 * @param started a piece of a line that says that work was done: the delay counts from it.
 * @returns the whole lines of JSON that it wrote.
 */
export async function linesOfKilled<Line>(
  args: readonly string[],
  { started, delayMs }: { started: string; delayMs: number },
): Promise<Line[]> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  let timer: NodeJS.Timeout | undefined;
  child.stdout.on('data', (piece: Buffer) => {
    output += piece.toString();
    if (!timer && output.includes(started)) timer = setTimeout(() => child.kill('SIGKILL'), delayMs);
  });
  const signal = await new Promise<string | null>((resolve) => child.once('close', (_, by) => resolve(by)));
  expect(signal).toBe('SIGKILL');
  const whole = output.slice(0, output.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}
