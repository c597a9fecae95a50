import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MANIFEST_FILE, readManifest, writeManifest } from '../../src/model/manifest.js';
import { addVersion, NAME } from '../jobs/two-models.js';
import { openRealApp, type RealApp } from './real-app.js';

describe('a long text for a model whose document prompt is long', () => {
  const SENTENCE = 'Boats rest at anchor in the bay. ';
  let prompted: RealApp;
  let modelsDir: string;
  beforeAll(async () => {
    modelsDir = mkdtempSync(join(tmpdir(), 'anchorage-models-'));
    await addVersion(modelsDir, '2-prompted');
    const folder = join(modelsDir, NAME, '2-prompted');
    const document = 'A report out of the archive of the harbour office, to be found by what it tells: '.repeat(4);
    const manifest = await readManifest(folder);
    // One is never written over another.
    rmSync(join(folder, MANIFEST_FILE));
    await writeManifest(folder, { ...manifest, prompts: { query: '', document, endless: document.repeat(10) } });
    prompted = await openRealApp('--models-dir', modelsDir, '--model', NAME, '--workers', '1');
  });
  afterAll(async () => {
    await prompted?.close();
    rmSync(modelsDir, { recursive: true });
  });
  const post = async (url: string, payload: object) => {
    const response = await prompted.app.inject({ method: 'POST', url, payload });
    return { status: response.statusCode, body: response.json() };
  };

  // Each way of filling the model: windows of many passages, and one passage as long as the model takes.
  test.each([
    ['windows', { maxTokens: 8, situated: true }, SENTENCE.repeat(100)],
    ['passages', { maxTokens: 8192 }, 'boats and '.repeat(600)],
  ])('is cut into %s that the model takes with the prompt before them', async (collection, chunk, text) => {
    const stored = await post('/documents', { collection, documents: [{ id: 'long', text, chunk }] });
    expect(stored).toMatchObject({ status: 200, body: { upserted: 1 } });
    const question = { collection, query: 'boats', mode: 'dense', k: 1000 };
    const { results } = (await post('/search', question)).body;
    const inputs = results.map((one: { text: string }) => one.text);
    const tokens = (await post('/tokenize', { inputs, prompt_name: 'document' })).body;
    for (const one of tokens) expect(one.length).toBeLessThanOrEqual(512);
    for (const { score } of results) expect(score).toBeGreaterThan(0);
    expect(results.length).toBeGreaterThan(2);
  });

  test('is refused by the prompt that leaves it no room', async () => {
    const documents = [{ text: SENTENCE, chunk: { maxTokens: 8 } }];
    expect(await post('/documents', { collection: 'full', documents, prompt_name: 'endless' })).toMatchObject({
      status: 422,
      body: { field: 'prompt_name', error: expect.stringContaining('leaves no room for a text') },
    });
  });
});
