/**
 * Kills a process that writes to a collection while it moves it from model to model, at seeded random moments, and looks at
 * what is left: one model's vectors, all of them, and of the documents that are there.
 * FAULT_ROUNDS=200 npx vitest run test/fault/generation-crash.test.ts is the long form.
 */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { StoredDocument } from '../../src/index/document-reader.js';
import { openCollections, seededRandom, temporaryFolder } from '../index/fixtures.js';
import { vectorOf } from './generation-model.mjs';
import { linesOfKilled } from './killed-process.js';

const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 5);
const CHILD = fileURLToPath(new URL('./generation-crash-child.mjs', import.meta.url));

type Line = { wrote: number } | { flipped: string };

async function look(dataDir: string): Promise<void> {
  const collections = await openCollections(dataDir, { graphFrom: 50, tombstoneShareMax: 0.1, tombstonesMin: 10 });
  const collection = collections.get('docs');
  const { documents, index } = await collection.info();
  expect(index.vectors).toBe(documents);
  const page = await collection.query({ limit: 1000, include: ['text', 'vector'] });
  expect(page.documents.length).toBe(documents);
  for (const { id, text, vector } of page.documents as Required<StoredDocument>[]) {
    expect(vector, `${id} has a vector of another model`).toEqual(vectorOf(text, collection.model));
  }
  for (const { id, text } of page.documents.slice(0, 30)) {
    const request = { vector: vectorOf(text!, collection.model), k: 1, mode: 'dense', include: [] } as const;
    expect((await collection.search(request)).results[0]).toMatchObject({ id });
  }
  await collections.close();
}

test(
  `a collection that is killed while it changes its model is of one model, ${ROUNDS} times`,
  async () => {
    const dataDir = temporaryFolder();
    const random = seededRandom(23);
    let flips = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const args = [CHILD, dataDir, String(round + 1)];
      const lines = await linesOfKilled<Line>(args, { started: '\n', delayMs: random() * 400 });
      flips += lines.filter((line) => 'flipped' in line).length;
      await look(dataDir);
    }
    expect(flips).toBeGreaterThan(0);
  },
  ROUNDS * 20_000,
);
