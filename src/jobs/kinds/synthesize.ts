/** synthesize: training records of graded hardness from the texts of a collection or a corpus. */

import { exportCorpus } from '../corpus-export.js';
import { artifactPath, dataPath } from '../data-path.js';
import type { JobContext } from '../job-context.js';
import { checkLlmEndpoint } from '../llm-endpoint.js';
import type { SynthesisParams, SynthesizeParams } from '../params.js';
import type { Kind } from './kind.js';

export const synthesizeKind: Kind<SynthesizeParams> = {
  check({ collection, ...synthesis }, { collections, config }) {
    if (collection !== undefined) collections.get(collection);
    checkLlmEndpoint(synthesis, config.jobLlmUrls);
  },

  async run(context, params) {
    const { collection, corpus, ...synthesis } = params;
    const { dataDir } = context.parts.config;
    const file =
      collection === undefined
        ? dataPath(dataDir, corpus!, 'params.corpus')
        : await corpusOf(context, collection, [0, 0.05]);
    await synthesize(context, synthesis, file, [0.05, 1]);
  },
};

/** The collection's texts in the job's folder: exported once, so that a job that goes on reads what it began with. */
export async function corpusOf(
  context: JobContext,
  collection: string,
  range: readonly [number, number],
): Promise<string> {
  const file = context.path('corpus.jsonl');
  await context.step('export texts', range, async () => ({
    documents: await exportCorpus(context.parts.collections.get(collection), file, context),
  }));
  return file;
}

/** @returns the data set's folder. */
export async function synthesize(
  context: JobContext,
  params: SynthesisParams,
  corpus: string,
  range: readonly [number, number],
): Promise<string> {
  const output = context.path('dataset');
  const { dataDir, jobLlmUrls } = context.parts.config;
  await context
    .step('synthesize', range, async () => {
      const encoder = context.parts.models.liveFolder;
      // Again: what is allowed may have changed since the job was taken.
      const llmBaseUrl = checkLlmEndpoint(params, jobLlmUrls);
      const done = await context.trainer(
        'synthesize',
        synthesisArguments(params, { corpus, output, encoder, dataDir, llmBaseUrl }),
      );
      return { records: done.records ?? null, levels: done.levels ?? null, ending: done.ending ?? null };
    })
    .then((facts) => context.measured({ synthesize: facts }));
  context.made({ dataset: artifactPath(dataDir, output) });
  return output;
}

interface Checked {
  readonly corpus: string;
  readonly output: string;
  readonly encoder: string;
  readonly dataDir: string;
  readonly llmBaseUrl: string | undefined;
}

function synthesisArguments(params: SynthesisParams, checked: Checked): string[] {
  const { llm = {} } = params;
  const { corpus, output, encoder, dataDir, llmBaseUrl } = checked;
  const flags: Record<string, string | number | undefined> = {
    corpus,
    output,
    encoder,
    provider: params.provider,
    records: params.records,
    levels: params.levels,
    seed: params.seed,
    passages: params.passages,
    language: params.language,
    negatives: params.negatives,
    domain: params.domain,
    license: params.license,
    'llm-base-url': llmBaseUrl,
    'llm-model': llm.model,
    'llm-api-key-env': llm.apiKeyEnv,
    'budget-tokens': llm.budgetTokens,
    concurrency: llm.concurrency,
    gguf: llm.gguf === undefined ? undefined : dataPath(dataDir, llm.gguf, 'params.llm.gguf'),
  };
  // One word a flag: a value that begins with a hyphen stays a value.
  return Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [`--${flag}=${value}`]));
}
