/** Two versions of one encoder that give other vectors, and a stand-in for the trainer that judges them as a test wishes. */
import { mkdir, readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { manifestFingerprint, readManifest, writeManifest } from '../../src/model/manifest.js';
import { defaultFolder } from '../model/real-embedder.js';
import { standInTrainer } from './stand-in-trainer.js';

export const NAME = 'all-minilm-l6-v2';

/** Writes the report of an evaluation in which the second model differs by so many points. */
export const judges = (difference: number, pValue: number) =>
  standInTrainer(`
    import { mkdirSync, writeFileSync } from 'node:fs';
    const models = args.filter((one, at) => args[at - 1] === '--encoder').map((one) => one.split('=')[0]);
    const entry = (value) => ({ metric: 'ndcg@10', items: 50, figures: { 'ndcg@10': { value, low: value - 1, high: value + 1 } } });
    const encoders = Object.fromEntries(models.map((model, at) => [model, { one: at === 0 ? entry(80)
      : { ...entry(80 + ${difference}), difference: { value: ${difference}, low: ${difference} - 1, high: ${difference} + 1, to: models[0], pValue: ${pValue} } } }]));
    mkdirSync(flag('output'), { recursive: true });
    writeFileSync(flag('output') + '/evaluation.json', JSON.stringify({ encoders }));
    emit('evaluation', { encoder: models[1], set: 'one', metric: 'ndcg@10', value: 80 + ${difference} });
    emit('done', { folder: flag('output') });`);

/** The committed model under another version; pooled by its mean it gives other vectors, and so has another fingerprint. */
export async function addVersion(modelsDir: string, version: string, mode?: 'mean', broken = false): Promise<void> {
  const folder = join(modelsDir, NAME, version);
  await mkdir(folder, { recursive: true });
  for (const file of await readdir(defaultFolder)) {
    if (file !== 'manifest.json') await symlink(join(defaultFolder, file), join(folder, file));
  }
  const manifest = await readManifest(defaultFolder);
  const files = { ...manifest.files };
  if (broken) files['tokenizer.json'] = { ...files['tokenizer.json']!, sha256: '0'.repeat(64) };
  const changed = { ...manifest, files, version, pooling: mode ? { mode } : manifest.pooling };
  await writeManifest(folder, { ...changed, fingerprint: manifestFingerprint(changed) });
}
