/** Params of a job as they came, made whole: unknown fields refused, defaults filled in, paths held inside the data directory. */
import { sep } from 'node:path';
import { Compile } from 'typebox/compile';
import { Value } from 'typebox/value';
import { AnchorageError } from '../errors.js';
import { dataPath } from './data-path.js';
import type { JobType, Json } from './job.js';
import { PARAMS } from './params.js';

const validators = Object.fromEntries(Object.entries(PARAMS).map(([type, schema]) => [type, Compile(schema)]));

/** What a validator finds, for whoever turns it into a sentence. */
export interface ParamsFault {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: object;
}

/** @returns the params with defaults, or the faults of those given. */
export function fillParams(type: JobType, given: Json): { params: Json } | { faults: ParamsFault[] } {
  const validator = validators[type]!;
  const filled: unknown = Value.Default(PARAMS[type], structuredClone(given));
  if (!validator.Check(filled)) return { faults: validator.Errors(filled) as unknown as ParamsFault[] };
  return { params: filled as Json };
}

/**
 * What a schema cannot say.
 * @throws AnchorageError VALIDATION naming the field.
 */
export function checkParams(type: JobType, params: Json, dataDir: string): void {
  if (type === 'synthesize' && (params.collection === undefined) === (params.corpus === undefined)) {
    throw invalid('params.collection', 'a collection or a corpus is expected, one of the two');
  }
  if (type === 'finetune' && params.dataset === undefined && typeof params.recipe !== 'object') {
    throw invalid('params.dataset', 'a dataset is expected: what synthesize made, or a file of training records');
  }
  for (const [field, path] of paths(params)) {
    // What an earlier job has yet to make need not be there when the next is queued.
    const mustExist = !path.startsWith('jobs/') && !path.includes(`${sep}jobs${sep}`);
    dataPath(dataDir, path, field, { mustExist });
  }
}

/** Fields that hold paths, whole, wherever in the params they are. A recipe's own are recipe.ts's affair. */
const PATH_FIELDS = new Set(['corpus', 'dataset', 'base', 'gguf', 'sets']);

function* paths(value: Json, place = 'params'): Generator<[field: string, path: string]> {
  for (const [name, inner] of Object.entries(value)) {
    const field = `${place}.${name}`;
    if (PATH_FIELDS.has(name)) {
      for (const [at, one] of [inner].flat().entries()) {
        if (typeof one !== 'string') continue;
        // A set may name its split behind a colon.
        yield [Array.isArray(inner) ? `${field}[${at}]` : field, name === 'sets' ? one.split(':')[0]! : one];
      }
    } else if (name === 'model' && typeof inner === 'string' && !inner.includes('@') && place === 'params') {
      yield [field, inner];
    } else if (name === 'recipe' || name === 'loss') {
      if (typeof inner === 'string' && inner.includes('/')) yield [field, inner];
    } else if (typeof inner === 'object' && inner !== null) {
      yield* paths(inner as Json, field);
    }
  }
}

const invalid = (field: string, message: string): AnchorageError =>
  new AnchorageError('VALIDATION', `${field}: ${message}`, { field });
