/** @huggingface/transformers' feature-extraction pipeline. usage: transformers-js.mjs PROJECT FOLDER THREADS DTYPE MAX_TOKENS mean|cls */
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** @returns (texts, batchSize) -> one Float32Array a text. */
export async function loadTransformersJs([project, folder, threads, dtype, maxTokens, pooling]) {
  const entry = createRequire(join(project, 'package.json')).resolve('@huggingface/transformers');
  const { env, pipeline } = await import(pathToFileURL(entry).href);
  env.allowRemoteModels = false;
  env.localModelPath = dirname(folder);
  const extract = await pipeline('feature-extraction', basename(folder), {
    dtype,
    device: 'cpu',
    session_options: { intraOpNumThreads: Number(threads), interOpNumThreads: 1 },
  });
  if (extract.tokenizer.model_max_length !== Number(maxTokens)) {
    throw new Error(`reads up to ${extract.tokenizer.model_max_length} tokens, not ${maxTokens}`);
  }
  return async (texts, batchSize) => {
    const rows = [];
    for (let at = 0; at < texts.length; at += batchSize) {
      const { data, dims } = await extract(texts.slice(at, at + batchSize), { pooling, normalize: true });
      for (let row = 0; row < dims[0]; row++) rows.push(data.slice(row * dims[1], (row + 1) * dims[1]));
    }
    return rows;
  };
}
