/**
 * The trainer's Python environment, made by trainer/environment.sh on first use. Quick where it is there. What stands in
 * its way (no Python, no package index) ends the job with the script's own words.
 */
import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { JobFailure } from './job.js';
import { type ProgramCall, runProgram, type TrainerLimits } from './trainer-process.js';

export interface EnvironmentCall extends Pick<ProgramCall, 'log' | 'signal' | 'onStart'> {
  /** Hears what the script says it does. */
  readonly onStage: (stage: string) => void;
}

/** @throws JobFailure `environment`; Stopped. */
export async function makeEnvironment(call: EnvironmentCall, limits: TrainerLimits): Promise<void> {
  const trainerDir = resolve(limits.trainerDir);
  const script = join(trainerDir, 'environment.sh');
  if (!existsSync(script) || basename(trainerDir) !== 'trainer') {
    throw new JobFailure(
      'environment',
      `there is no trainer at ${limits.trainerDir}: --trainer-dir names the folder trainer of a checkout`,
    );
  }
  const outcome = await runProgram(
    {
      ...call,
      program: 'bash',
      args: [script],
      cwd: trainerDir,
      hear: () => {},
      onErrorLine: (line) => {
        const said = /^trainer: (.*)$/.exec(line)?.[1];
        if (said !== undefined) call.onStage(said);
      },
    },
    limits,
  );
  if (outcome.ending === 'exit' && outcome.code === 0) return;
  const lines = call.log.lastLines;
  const why = lines.at(-1) ?? `exit code ${outcome.code}`;
  throw new JobFailure(
    'environment',
    `the trainer's environment could not be made (${why}); it needs Python 3.10 or newer and, the first time, a package index`,
    lines,
  );
}
