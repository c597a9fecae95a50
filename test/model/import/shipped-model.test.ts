/** The version that this repository ships, imported from its own files as if they were somebody else's. */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { SETTINGS } from '../../../src/config.js';
import { importModel } from '../../../src/model/import/import-model.js';
import { findModelFiles } from '../../../src/model/import/model-files.js';
import { readManifest } from '../../../src/model/manifest.js';
import { temporaryFolder } from './tiny-model.js';

const REPOSITORY = dirname(fileURLToPath(new URL('../../../package.json', import.meta.url)));

it('the shipped graph has received attention already, and its import adds nothing and measures the same', async () => {
  const folder = join(REPOSITORY, 'models', SETTINGS.model.default.replace('@', '/'));
  const shipped = await readManifest(folder);
  const files = await findModelFiles(folder, {});
  const modelsDir = await temporaryFolder();
  const { manifest, check } = await importModel({ files, modelsDir, name: shipped.name, origin: 'test', tool: 'test' });
  expect(manifest.files['model.onnx']).toEqual(shipped.files['model.onnx']);
  expect(manifest.files['tokenizer.json']).toEqual(shipped.files['tokenizer.json']);
  expect(manifest.outputs).toEqual(shipped.outputs);
  expect(manifest).toMatchObject({ dimensions: shipped.dimensions, batchInvariant: shipped.batchInvariant });
  expect(check.hiddenStatesDifference).toBe(0);
  expect(Number.isInteger(check.heads)).toBe(true);
});
