/**
 * What each kind of job takes, once: the schema gives the types, the checks, the defaults and the documentation. A field
 * that is not here is refused by name. Paths are relative to the data directory; see data-path.ts.
 */
import { type Static, type TSchema, Type } from 'typebox';
import { MODEL_NAME_PATTERN } from '../model/manifest.js';
import type { JobType } from './job.js';

const closed = { additionalProperties: false } as const;
const optional = Type.Optional;
const path = (description: string) => Type.String({ minLength: 1, maxLength: 1000, description });
const count = (minimum: number, maximum: number, fallback: number, description: string) =>
  Type.Integer({ minimum, maximum, default: fallback, description });

/** `name@version`. */
const ModelId = Type.String({
  pattern: `^${MODEL_NAME_PATTERN.slice(1, -1)}@${MODEL_NAME_PATTERN.slice(1, -1)}$`,
  description: 'name@version',
});
const CollectionName = Type.String({ minLength: 1, maxLength: 100, description: 'a collection that is served' });
const NewName = Type.String({ pattern: MODEL_NAME_PATTERN });

const Llm = Type.Object(
  {
    baseUrl: optional(Type.String({ pattern: '^https?://', maxLength: 1000 })),
    model: optional(Type.String({ minLength: 1, maxLength: 200 })),
    apiKeyEnv: optional(
      Type.String({
        pattern: '^[A-Z][A-Z0-9_]{0,80}_API_KEY$',
        description: "the server's environment variable that holds the key; its name ends in _API_KEY",
      }),
    ),
    budgetTokens: optional(Type.Integer({ minimum: 0 })),
    concurrency: optional(Type.Integer({ minimum: 1, maximum: 256 })),
    gguf: optional(path('a GGUF model, for llamacpp')),
  },
  closed,
);

const synthesis = {
  provider: Type.Enum(['corpus', 'openai', 'llamacpp'], { default: 'corpus', description: 'who writes' }),
  records: count(10, 1_000_000, 1000, 'finished records that are wanted'),
  levels: count(2, 8, 4, 'negatives a record, of rising hardness'),
  seed: count(0, 2 ** 31 - 1, 1, 'the same seed makes the same data'),
  passages: optional(Type.Integer({ minimum: 1, description: 'read at most so many passages' })),
  language: optional(Type.String({ pattern: '^([a-z]{2}|auto)$' })),
  negatives: optional(Type.Enum(['written', 'mined', 'both'])),
  domain: optional(Type.String({ maxLength: 2000 })),
  license: optional(Type.String({ maxLength: 200 })),
  llm: optional(Llm),
};

const training = {
  base: optional(path('a PyTorch encoder folder; default: the one that the live model came from')),
  steps: count(1, 1_000_000, 100, 'optimizer steps'),
  batchSize: count(2, 65_536, 32, 'records a step'),
  maxTokens: count(8, 8192, 256, 'tokens of a text'),
  learningRate: optional(Type.Number({ exclusiveMinimum: 0, maximum: 1 })),
  loss: optional(
    Type.Record(Type.String(), Type.Unknown(), { description: 'a loss as a recipe has it: {"name": "ega", …}' }),
  ),
  curriculum: Type.String({
    pattern: '^(coarse-to-fine|reverse|random|all|progressive|level-[1-8])$',
    default: 'coarse-to-fine',
    description: 'which hardness a negative has, and when',
  }),
  seed: count(0, 2 ** 31 - 1, 1, 'the same seed makes the same model'),
  recipe: optional(
    Type.Union([path('the name of a recipe of the trainer, or a file'), Type.Record(Type.String(), Type.Unknown())], {
      description: 'the name of one of the trainer’s recipes, a file in the data directory, or a recipe itself',
    }),
  ),
};

const Gate = Type.Union(
  [
    Type.Enum(['better', 'always', 'never']),
    Type.Object(
      {
        rule: Type.Enum(['better', 'always', 'never'], { default: 'better' }),
        alpha: Type.Number({ exclusiveMinimum: 0, maximum: 0.5, default: 0.05 }),
        gain: Type.Enum(['significant', 'any', 'none'], { default: 'significant' }),
        lossMax: optional(Type.Number({ minimum: 0, maximum: 100, description: 'points; beyond it any loss counts' })),
      },
      closed,
    ),
  ],
  {
    default: 'better',
    description: '"better", "always", "never", or {rule, alpha, gain: "significant" | "any" | "none", lossMax}',
  },
);

const deployment = {
  gate: Gate,
  sets: optional(Type.Array(path('a folder of an evaluation set'), { maxItems: 50 })),
  queriesMax: count(10, 100_000, 1000, 'queries of each set'),
  documentsMax: count(100, 10_000_000, 20_000, 'documents of each set'),
  keepPrevious: Type.Boolean({
    default: true,
    description: 'keep the old model and its vectors, so that POST /admin/models/rollback can go back to them',
  }),
  index: Type.Enum(['reindex', 'map'], {
    default: 'reindex',
    description:
      'reindex: collections are embedded anew before the model goes live; map: they keep their vectors, and the new ' +
      "model's queries are mapped to them until a reindex",
  }),
  textsPerSecond: optional(
    Type.Number({
      exclusiveMinimum: 0,
      maximum: 1_000_000,
      description: 'bounds re-embedding; default: as fast as bulk work goes, behind queries',
    }),
  ),
};

const quantization = Type.Enum(['int8', 'float32', 'int8-dynamic'], { default: 'int8' });

export const PARAMS = {
  synthesize: Type.Object(
    {
      collection: optional(CollectionName),
      corpus: optional(path('a file or folder of passages, instead of a collection')),
      ...synthesis,
    },
    closed,
  ),
  finetune: Type.Object({ dataset: optional(path('a folder with train.jsonl, or a file')), ...training }, closed),
  evaluate: Type.Object(
    {
      model: optional(ModelId),
      baseline: optional(ModelId),
      sets: Type.Array(path('a folder of an evaluation set'), { minItems: 1, maxItems: 50 }),
      queriesMax: count(0, 1_000_000, 0, 'queries of each set; 0: all'),
      documentsMax: count(0, 100_000_000, 0, 'documents of each set; 0: all'),
    },
    closed,
  ),
  export: Type.Object(
    {
      model: path('what finetune made: its artifact "model"'),
      quantization,
      name: optional(NewName),
      version: optional(NewName),
    },
    closed,
  ),
  deploy: Type.Object({ model: ModelId, ...deployment }, closed),
  reindex: Type.Object({ collection: CollectionName, textsPerSecond: deployment.textsPerSecond }, closed),
  pipeline: Type.Object(
    {
      collection: CollectionName,
      synthesize: Type.Object(synthesis, { ...closed, default: {} }),
      finetune: Type.Object(training, { ...closed, default: {} }),
      export: Type.Object({ quantization, name: optional(NewName) }, { ...closed, default: {} }),
      heldOut: Type.Number({
        minimum: 0.05,
        maximum: 0.5,
        default: 0.2,
        description: 'share of the passages whose queries are not trained on, and judge the result',
      }),
      feedback: Type.Boolean({
        default: false,
        description: 'let stored feedback join the data, to train and to judge',
      }),
      ...deployment,
    },
    closed,
  ),
} as const satisfies Record<JobType, TSchema>;

export type SynthesizeParams = Static<typeof PARAMS.synthesize>;
export type SynthesisParams = Static<typeof PARAMS.pipeline.properties.synthesize>;
export type FinetuneParams = Static<typeof PARAMS.finetune>;
export type EvaluateParams = Static<typeof PARAMS.evaluate>;
export type ExportParams = Static<typeof PARAMS.export>;
export type DeployParams = Static<typeof PARAMS.deploy>;
export type ReindexParams = Static<typeof PARAMS.reindex>;
export type PipelineParams = Static<typeof PARAMS.pipeline>;
export type GateParam = Static<typeof Gate>;
