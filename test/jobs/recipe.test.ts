import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fillParams } from '../../src/jobs/check-params.js';
import type { Json } from '../../src/jobs/job.js';
import type { FinetuneParams } from '../../src/jobs/params.js';
import { makeRecipe } from '../../src/jobs/recipe.js';
import type { Manifest } from '../../src/model/manifest.js';
import { readManifest } from '../../src/model/manifest.js';
import { defaultFolder } from '../model/real-embedder.js';

let dataDir: string;
let live: Manifest;
beforeAll(async () => {
  dataDir = realpathSync(mkdtempSync(join(tmpdir(), 'anchorage-recipe-')));
  mkdirSync(join(dataDir, 'mine'));
  writeFileSync(join(dataDir, 'pairs.jsonl'), '{}');
  live = await readManifest(defaultFolder);
});
afterAll(() => rmSync(dataDir, { recursive: true }));

function recipe(given: Json, dataset: string | undefined = join(dataDir, 'pairs.jsonl')): Json {
  const filled = fillParams('finetune', { dataset: 'pairs.jsonl', ...given });
  if ('faults' in filled) throw new Error(JSON.stringify(filled.faults));
  const places = { dataDir, trainerDir: 'trainer', output: '/out', dataset, defaultBase: () => '/base' };
  return makeRecipe(filled.params as FinetuneParams, live, places);
}

describe('the recipe of a training job', () => {
  it('without a recipe is graded hard negatives, amplified, from the live model on', () => {
    expect(recipe({ steps: 40 })).toMatchObject({
      base: '/base',
      output: '/out',
      max_tokens: 256,
      checkpoint_every: 5,
      pooling: { mode: 'ata', gamma: 0.5, learn_gamma: true },
      stages: [
        {
          steps: 40,
          batch: 32,
          order: 'coarse-to-fine',
          loss: { name: 'false_negative_filter' },
          sources: [{ path: join(dataDir, 'pairs.jsonl') }],
        },
      ],
    });
  });

  it.each(
    readdirSync('trainer/recipes')
      .map((file) => file.replace('.yaml', ''))
      // These need a teacher, which a job has to be given.
      .filter((name) => !name.includes('distillation')),
  )('by the name of one of the trainer’s, %s, reads the data of the job alone', (name) => {
    const made = recipe({ recipe: name, steps: 100, batchSize: 16 });
    const stages = made.stages as { steps: number; batch: number; sources: { path: string }[] }[];
    expect(made).toMatchObject({ base: '/base', output: '/out' });
    expect(made.evaluation).toBeUndefined();
    expect(Math.abs(stages.reduce((sum, { steps }) => sum + steps, 0) - 100)).toBeLessThan(stages.length);
    expect(stages.every(({ batch }) => batch === 16)).toBe(true);
    expect(stages.flatMap(({ sources }) => sources.map(({ path }) => path))).toEqual(
      stages.map(() => join(dataDir, 'pairs.jsonl')),
    );
  });

  it('from a file of the data directory keeps its own stages, base and sources', () => {
    writeFileSync(
      join(dataDir, 'mine', 'recipe.yaml'),
      'base: mine\noptimizer: {learning_rate: 1.0e-5}\nstages:\n  - {steps: 7, batch: 3, sources: [{path: pairs.jsonl, weight: 2}]}\n',
    );
    const made = recipe({ recipe: 'mine/recipe.yaml', learningRate: 2e-5 }, undefined as unknown as string);
    expect(made).toMatchObject({ base: join(dataDir, 'mine'), optimizer: { learning_rate: 2e-5 } });
  });

  it('of several teachers keeps each, and their vectors, in the data directory', () => {
    const made = recipe({ recipe: { teachers: [{ folder: 'mine', weight: 2 }], teacher_cache: 'vectors' } });
    expect(made.teachers).toEqual([{ folder: join(dataDir, 'mine'), weight: 2 }]);
    expect(made.teacher_cache).toBe(join(dataDir, 'vectors'));
  });

  it.each<[string, Json, RegExp]>([
    ['that is no YAML', { recipe: 'mine/broken.yaml' }, /no valid YAML or JSON/],
    ['that is not there', { recipe: 'mine/none.yaml' }, /there is no mine\/none\.yaml/],
    ['whose stages are no list', { recipe: { stages: 3 } }, /recipe\.stages: a list is expected/],
    ['whose teacher lies outside', { recipe: { teacher: '/etc' } }, /recipe\.teacher: .* leads out/],
    [
      'one of whose teachers lies outside',
      { recipe: { teachers: [{ folder: '/etc' }] } },
      /teachers\[0\]\.folder: .* out/,
    ],
    [
      'one of whose teachers is a server',
      { recipe: { teachers: [{ folder: 'http://10.0.0.1' }] } },
      /there is no http/,
    ],
    ['that keeps vectors outside', { recipe: { teacher_cache: '../vectors' } }, /recipe\.teacher_cache: .* leads out/],
    ['of the trainer’s that needs teachers', { recipe: 'several-teachers-distillation' }, /needs a teacher/],
    ['of the trainer’s that needs a teacher', { recipe: 'distillation' }, /needs a teacher/],
  ])('is refused %s', (_what, given, message) => {
    writeFileSync(join(dataDir, 'mine', 'broken.yaml'), 'a: [1');
    expect(() => recipe(given)).toThrow(message);
  });
});
