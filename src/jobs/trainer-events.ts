/** The trainer's events as they come out of its standard output: docs/trainer-events.md. */
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import type { Json } from './job.js';

/** What a reader must be able to rely on; the rest of an event is passed on as it came. */
const EventSchema = Type.Object({ event: Type.String({ minLength: 1, maxLength: 40, pattern: '^[a-z-]+$' }) });
const validator = Compile(EventSchema);

export interface TrainerEvent extends Json {
  readonly event: string;
}

/** @returns undefined for a line that is no event. */
export function trainerEvent(line: string): TrainerEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return validator.Check(value) ? (value as unknown as TrainerEvent) : undefined;
  } catch {
    return undefined;
  }
}

/** Share of a stage that is done, and the seconds it still takes; undefined where the event does not say. */
export function progressOf(event: TrainerEvent): { share: number | undefined; etaSeconds: number | null } {
  const { step, of, etaSeconds } = event;
  const known = typeof step === 'number' && typeof of === 'number' && of > 0;
  return {
    share: known ? Math.min(1, Math.max(0, step / of)) : undefined,
    etaSeconds: typeof etaSeconds === 'number' && Number.isFinite(etaSeconds) ? etaSeconds : null,
  };
}
