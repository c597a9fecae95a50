/** npm fastembed over local files. usage: fastembed-js.mjs PROJECT FOLDER MAX_TOKENS */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { serve } from './line-driver.mjs';

const [project, folder, maxTokens] = process.argv.slice(2);
const entry = createRequire(join(project, 'package.json')).resolve('fastembed');
const { FlagEmbedding, EmbeddingModel } = await import(pathToFileURL(entry).href);
const model = await FlagEmbedding.init({
  model: EmbeddingModel.CUSTOM,
  modelAbsoluteDirPath: folder,
  modelName: 'onnx/model.onnx',
  maxLength: Number(maxTokens),
});

await serve(async (texts, batchSize) => {
  const rows = [];
  for await (const batch of model.embed(texts, batchSize)) rows.push(...batch.map((row) => Float32Array.from(row)));
  return rows;
});
