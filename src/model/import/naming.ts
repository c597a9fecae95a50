/** What an imported version is called, and how long its inputs may be, where nobody says. */
import { AnchorageError } from '../../errors.js';
import { MODEL_NAME_PATTERN } from '../manifest.js';
import type { ModelFacts } from './model-facts.js';

/** BERT's length; for models that state none. */
const USUAL_MAX_TOKENS = 512;

/** The name asked for, or the title in the letters that a name may have: `BGE small (v1.5)` -> `bge-small-v1.5`. */
export function modelName(asked: string | undefined, title: string): string {
  const fromTitle = title
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, '')
    .slice(0, 100);
  return checked('--name', asked ?? (fromTitle || 'model'));
}

/** The version asked for, or `1-int8` and the like. */
export function versionName(asked: string | undefined, quantization: string): string {
  return checked('--version', asked ?? `1-${quantization}`);
}

function checked(flag: string, name: string): string {
  if (new RegExp(MODEL_NAME_PATTERN).test(name)) return name;
  throw new AnchorageError(
    'CONFIG_INVALID',
    `${flag} ${JSON.stringify(name)} must be 1 to 100 of a-z 0-9 . _ - and begin with a letter or digit`,
  );
}

/** Longest input in tokens: as asked within the encoder's positions, or as the model's files say. */
export function chooseMaxTokens(asked: number | undefined, facts: ModelFacts): number {
  if (asked !== undefined && facts.positions !== undefined && asked > facts.positions) {
    throw new AnchorageError('CONFIG_INVALID', `--max-tokens ${asked}: the encoder has ${facts.positions} positions`);
  }
  return asked ?? facts.maxTokens ?? USUAL_MAX_TOKENS;
}
