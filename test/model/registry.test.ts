import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/metrics.js';
import { ModelRegistry } from '../../src/model/registry.js';
import { defaultFolder, limits } from './real-embedder.js';

const NAME = 'all-minilm-l6-v2';
const metrics = createMetrics();
let modelsDir: string;
const open = (model: string) => ModelRegistry.open({ ...limits(), metrics, workers: 1, modelsDir, model });

/** The default model once more, under another version. */
async function addVersion(version: string): Promise<void> {
  const folder = join(modelsDir, NAME, version);
  await mkdir(folder, { recursive: true });
  for (const file of await readdir(defaultFolder)) {
    if (file !== 'manifest.json') await symlink(join(defaultFolder, file), join(folder, file));
  }
  const manifest = JSON.parse(await readFile(join(defaultFolder, 'manifest.json'), 'utf8'));
  await writeFile(join(folder, 'manifest.json'), JSON.stringify({ ...manifest, version }));
}

beforeAll(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'anchorage-models-'));
  await addVersion('1-int8');
});
afterAll(() => rm(modelsDir, { recursive: true }));

describe('the model registry', () => {
  it('takes the only version of a name, then the highest int8 one, then wants to be told', async () => {
    const liveOf = async (model: string) => {
      const registry = await open(model);
      await registry.close();
      return registry.live.manifest.version;
    };
    expect(await liveOf(NAME)).toBe('1-int8');
    await addVersion('2-int8');
    await addVersion('3-float32');
    expect(await liveOf(NAME)).toBe('2-int8');
    expect(await liveOf(`${NAME}@3-float32`)).toBe('3-float32');
    await rm(join(modelsDir, NAME, '3-float32'), { recursive: true });
  });

  it('swaps the live version under running requests, and one at a time', async () => {
    const registry = await open(`${NAME}@1-int8`);
    const old = registry.live;
    const running = old.embed(
      Array.from({ length: 200 }, (_, i) => `before the swap ${i}`),
      { lane: 'bulk' },
    );
    const activation = registry.activate(NAME, '2-int8');
    await expect(registry.activate(NAME, '1-int8')).rejects.toMatchObject({ code: 'CONFLICT' });
    await activation;
    expect(registry.live.manifest.version).toBe('2-int8');
    // A request that took the old one as live still gets its answer from it.
    expect((await old.embed(['after the swap'], { lane: 'query' })).count).toBe(1);
    expect((await running).count).toBe(200);
    const shown = await metrics.registry.metrics();
    expect(shown.match(/anchorage_model_info\{.*/g)).toEqual([expect.stringContaining('version="2-int8"')]);
    await registry.close();
    await expect(old.embed(['closed'], { lane: 'query' })).rejects.toMatchObject({ code: 'UNHEALTHY' });
  });

  it('lists versions with what is wrong with them, and leaves the live one alone when another is broken', async () => {
    const registry = await open(`${NAME}@1-int8`);
    await mkdir(join(modelsDir, NAME, '4-broken'));
    await writeFile(join(modelsDir, NAME, '4-broken', 'manifest.json'), '{"schemaVersion": 1');
    await addVersion('5-tampered');
    const tokenizer = join(modelsDir, NAME, '5-tampered', 'tokenizer_config.json');
    await rm(tokenizer);
    await writeFile(tokenizer, '{}');
    const list = await registry.list();
    expect(list.map(({ version, live, problem }) => [version, live, problem === undefined])).toEqual([
      ['1-int8', true, true],
      ['2-int8', false, true],
      ['4-broken', false, false],
      ['5-tampered', false, true],
    ]);
    expect(list[0]!.manifest!.dimensions).toBe(384);
    await expect(registry.activate(NAME, '4-broken')).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    await expect(registry.activate(NAME, '5-tampered')).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    expect(registry.live.manifest.version).toBe('1-int8');
    await registry.close();
  });

  it('refuses names that are no plain names, and versions that are not there', async () => {
    const registry = await open(`${NAME}@1-int8`);
    for (const [name, version] of [
      ['..', 'x'],
      [NAME, '../../etc'],
      ['A', '1'],
      [NAME, ''],
    ] as const) {
      await expect(registry.activate(name, version)).rejects.toMatchObject({ code: 'VALIDATION' });
    }
    await expect(registry.activate(NAME, '9')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(open('no-such-model')).rejects.toThrow(/has no model no-such-model/);
    await registry.close();
  });
});
