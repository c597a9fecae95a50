/**
 * The recipe that a training job hands to the trainer: one of the trainer's own, a file, or an object, with the job's
 * values over it. Every path that it names is held inside the data directory; the output is always the job's folder.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { AnchorageError } from '../errors.js';
import type { Manifest } from '../model/manifest.js';
import { dataPath } from './data-path.js';
import type { Json } from './job.js';
import type { FinetuneParams } from './params.js';

const RECIPE_BYTES_MAX = 1024 * 1024;
const SHIPPED_NAME = /^[a-z0-9-]+$/;

/** What the corpus has in common with any text is learned at once; what is nearly an answer weighs most, and late. */
const LOSS = {
  name: 'false_negative_filter',
  ratio: 0.98,
  inner: { name: 'ega', temperature: 0.05, strength: 4.0, margin: 0.1 },
};

export interface RecipePlaces {
  readonly dataDir: string;
  readonly trainerDir: string;
  /** Folder of the run. */
  readonly output: string;
  /** The training records; undefined where the recipe names its own. */
  readonly dataset: string | undefined;
  /** PyTorch folder of the encoder to begin with, where params and recipe name none. */
  readonly defaultBase: () => string;
}

/** @returns a recipe of absolute paths, as trainer/recipe.py has its keys. @throws AnchorageError VALIDATION naming the key. */
export function makeRecipe(params: Omit<FinetuneParams, 'dataset'>, live: Manifest, places: RecipePlaces): Json {
  const given = readRecipe(params.recipe, places);
  const { fields, isShipped } = given;
  const inside = (path: unknown, key: string): string => dataPath(places.dataDir, text(path, key), `recipe.${key}`);
  const base = params.base
    ? dataPath(places.dataDir, params.base, 'params.base')
    : fields.base !== undefined && !isShipped
      ? inside(fields.base, 'base')
      : places.defaultBase();
  const recipe: Json = {
    ...fields,
    base,
    output: places.output,
    seed: params.seed,
    max_tokens: params.maxTokens,
    micro_batch: fields.micro_batch ?? Math.min(32, params.batchSize),
    pooling: fields.pooling ?? poolingOf(live),
    prompts: fields.prompts ?? live.prompts,
    checkpoint_every: fields.checkpoint_every ?? Math.max(5, Math.ceil(params.steps / 10)),
    stages: stagesOf(params, fields, isShipped, places, live),
  };
  if (params.learningRate !== undefined) {
    recipe.optimizer = { ...object(fields.optimizer ?? {}, 'optimizer'), learning_rate: params.learningRate };
  }
  Object.assign(recipe, teachersOf(fields, isShipped, places.dataDir));
  const evaluation = fields.evaluation === undefined ? undefined : object(fields.evaluation, 'evaluation');
  if (isShipped) delete recipe.evaluation;
  else if (evaluation) {
    const sets = list(evaluation.sets ?? [], 'evaluation.sets');
    // <folder>:<split>
    recipe.evaluation = {
      ...evaluation,
      sets: sets.map((set, at) => {
        const [folder = '', split] = text(set, `evaluation.sets[${at}]`).split(':');
        return [inside(folder, `evaluation.sets[${at}]`), ...(split === undefined ? [] : [split])].join(':');
      }),
    };
  }
  return recipe;
}

/** Where a recipe's teachers lie, and where their vectors are kept. */
function teachersOf({ teacher, teachers, teacher_cache: cache }: Json, isShipped: boolean, dataDir: string): Json {
  if (isShipped && (teacher || teachers))
    throw invalid('recipe.teacher', 'this recipe needs a teacher: copy it and name one in the data directory');
  const inside = (path: unknown, key: string, mustExist = true) =>
    dataPath(dataDir, text(path, key), `recipe.${key}`, { mustExist });
  const places: Json = {};
  if (teacher) places.teacher = inside(teacher, 'teacher');
  if (teachers) {
    places.teachers = list(teachers, 'teachers').map((entry, at) => {
      const share = object(entry, `teachers[${at}]`);
      return { ...share, folder: inside(share.folder, `teachers[${at}].folder`) };
    });
  }
  if (cache) places.teacher_cache = inside(cache, 'teacher_cache', false);
  return places;
}

function stagesOf(
  params: Omit<FinetuneParams, 'dataset'>,
  fields: Json,
  isShipped: boolean,
  { dataDir, dataset }: RecipePlaces,
  live: Manifest,
): Json[] {
  const prompts = { query_prompt: live.prompts.query, document_prompt: live.prompts.document };
  const ours = dataset === undefined ? undefined : [{ path: dataset, ...prompts }];
  if (fields.stages === undefined) {
    if (!ours) throw invalid('params.dataset', 'a dataset is expected, or a recipe that names its sources');
    const { steps, batchSize: batch, curriculum: order, loss = LOSS } = params;
    return [{ steps, batch, order, loss, sources: ours }];
  }
  const stages = list(fields.stages, 'stages').map((stage, at) => object(stage, `stages[${at}]`));
  return stages.map((stage, at) => {
    const key = `stages[${at}].sources`;
    // A shipped recipe's files are its author's examples; the steps of the job go to its stages in their proportion.
    const sources =
      ours ??
      list(stage.sources ?? [], key).map((source, index) => {
        const entry = object(source, `${key}[${index}]`);
        return {
          ...entry,
          path: dataPath(dataDir, text(entry.path, `${key}[${index}].path`), `recipe.${key}[${index}].path`),
        };
      });
    const shared = isShipped ? { steps: shareOf(params.steps, stages, at), batch: params.batchSize } : {};
    const loss = params.loss ?? stage.loss;
    return { ...stage, ...shared, ...(loss === undefined ? {} : { loss }), sources };
  });
}

function shareOf(steps: number, stages: readonly Json[], at: number): number {
  const total = stages.reduce((sum, stage) => sum + Number(stage.steps), 0);
  return Math.max(1, Math.round((steps * Number(stages[at]!.steps)) / total));
}

function readRecipe(
  recipe: FinetuneParams['recipe'],
  { dataDir, trainerDir }: RecipePlaces,
): { fields: Json; isShipped: boolean } {
  if (recipe === undefined) return { fields: {}, isShipped: false };
  if (typeof recipe !== 'string') return { fields: recipe, isShipped: false };
  if (SHIPPED_NAME.test(recipe)) {
    const file = join(trainerDir, 'recipes', `${recipe}.yaml`);
    if (existsSync(file)) return { fields: parseRecipe(readFileSync(file, 'utf8'), recipe), isShipped: true };
  }
  const file = dataPath(dataDir, recipe, 'params.recipe');
  const bytes = readFileSync(file);
  if (bytes.length > RECIPE_BYTES_MAX)
    throw invalid('params.recipe', `${recipe} has more than ${RECIPE_BYTES_MAX} bytes`);
  return { fields: parseRecipe(bytes.toString('utf8'), recipe), isShipped: false };
}

function parseRecipe(content: string, name: string): Json {
  try {
    // YAML reads JSON, too.
    return object(parse(content, { maxAliasCount: 50 }), '');
  } catch (error) {
    if (error instanceof AnchorageError) throw error;
    throw invalid('params.recipe', `${name} is no valid YAML or JSON: ${(error as Error).message.split('\n')[0]}`);
  }
}

/** What the model is pooled by now, with gamma learned on; a graph that pools by itself is trained by its mean. */
function poolingOf({ pooling }: Manifest): Json {
  if (pooling.mode === 'ata') return { mode: 'ata', gamma: pooling.gamma, learn_gamma: true };
  return { mode: pooling.mode === 'graph' ? 'mean' : pooling.mode };
}

function object(value: unknown, key: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw invalid(`recipe${key === '' ? '' : `.${key}`}`, 'a mapping is expected');
}

function list(value: unknown, key: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw invalid(`recipe.${key}`, 'a list is expected');
}

function text(value: unknown, key: string): string {
  if (typeof value === 'string') return value;
  throw invalid(`recipe.${key}`, 'a text is expected');
}

const invalid = (field: string, message: string): AnchorageError =>
  new AnchorageError('VALIDATION', `${field}: ${message}`, { field });
