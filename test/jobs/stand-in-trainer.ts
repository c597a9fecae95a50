/**
 * A trainer that a test writes itself: the folder that the runner expects, with a Node program in the place of Python. It
 * speaks the real protocol (docs/trainer-events.md) through real processes; what it does not do is learn. The real trainer
 * runs in test/e2e/loop.test.ts.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const made: string[] = [];
process.once('exit', () => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});

/**
 * Weights it reads back at once: an empty folder.
 *
 * @param body of an ES module; `command` and `args` are the trainer's, `emit(event, fields)` writes an event.
 * @returns the folder to give as trainerDir.
 */
export function standInTrainer(body: string, environment = 'exit 0'): string {
  const parent = mkdtempSync(join(tmpdir(), 'anchorage-trainer-'));
  made.push(parent);
  const trainerDir = join(parent, 'trainer');
  const bin = join(trainerDir, '.venv', 'bin');
  mkdirSync(bin, { recursive: true });
  const program = join(bin, 'program.mjs');
  writeFileSync(
    program,
    `import { mkdirSync as makeFolder, writeSync } from 'node:fs';
     const [, , , , command, ...args] = process.argv;
     const emit = (event, fields = {}) => writeSync(1, JSON.stringify({ event, ...fields }) + '\\n');
     const flag = (name) => args.find((one) => one.startsWith('--' + name + '='))?.split('=')[1] ?? args[args.indexOf('--' + name) + 1];
     if (command === 'base') {
       makeFolder(flag('output'), { recursive: true });
       emit('done');
       process.exit();
     }
     ${body}`,
  );
  const python = join(bin, 'python');
  writeFileSync(python, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`);
  chmodSync(python, 0o755);
  writeFileSync(join(trainerDir, 'environment.sh'), `${environment}\n`);
  return trainerDir;
}

/** Emits progress until it is told to end, then a checkpoint, as the trainer does; on `steps` it is done. */
export const TRAINS = (steps: number, everyMs = 20) => `
  import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
  const recipe = JSON.parse(readFileSync(flag('recipe'), 'utf8'));
  mkdirSync(recipe.output, { recursive: true });
  const checkpoint = recipe.output + '/checkpoint';
  let step = existsSync(checkpoint) ? Number(readFileSync(checkpoint, 'utf8')) : 0;
  emit('progress', { stage: 'begins', step, of: ${steps} });
  const save = () => { writeFileSync(checkpoint, String(step)); emit('checkpoint', { step, folder: checkpoint }); };
  process.on('SIGTERM', () => { save(); process.exit(143); });
  const timer = setInterval(() => {
    step += 1;
    emit('progress', { stage: 'finetune', step, of: ${steps}, loss: 1 / step, learningRate: 0.1, tokensPerSecond: 10, etaSeconds: (${steps} - step) / 50 });
    if (step % 5 === 0) save();
    if (step < ${steps}) return;
    clearInterval(timer);
    mkdirSync(recipe.output + '/model', { recursive: true });
    emit('done', { folder: recipe.output + '/model', steps: step, tokens: 1, pooling: { mode: 'mean' } });
  }, ${everyMs});`;
