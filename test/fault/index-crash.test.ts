/**
 * Kills a writing process at seeded random moments, again and again on one data directory, and looks at what is left.
 * FAULT_ROUNDS=200 npx vitest run test/fault/index-crash.test.ts is the long form.
 */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { normalized, openCollections, seededRandom, temporaryFolder } from '../index/fixtures.js';
import { linesOfKilled } from './killed-process.js';

const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 6);
const CHILD = fileURLToPath(new URL('./index-crash-child.mjs', import.meta.url));
const DIMENSIONS = 16;

interface Doing {
  readonly doing: number;
  readonly upserts: Record<string, number>;
  readonly deletes: string[];
}

/** What each id may hold: its value, or undefined for nothing. A write that was not acknowledged leaves several. */
type Possible = Map<string, Set<number | undefined>>;

const vectorOf = (value: number): Float32Array =>
  normalized(Float32Array.from({ length: DIMENSIONS }, (_, i) => Math.sin(value * (i + 1) + i)));

function apply(possible: Possible, lines: readonly (Doing | { done: number })[]): void {
  const done = new Set(lines.flatMap((line) => ('done' in line ? [line.done] : [])));
  for (const line of lines) {
    if (!('doing' in line)) continue;
    const certain = done.has(line.doing);
    const change = (id: string, value: number | undefined): void => {
      const before = possible.get(id) ?? new Set([undefined]);
      possible.set(id, certain ? new Set([value]) : new Set([...before, value]));
    };
    for (const [id, value] of Object.entries(line.upserts)) change(id, value);
    for (const id of line.deletes) change(id, undefined);
  }
}

async function look(dataDir: string, possible: Possible): Promise<void> {
  const collections = await openCollections(dataDir, { graphFrom: 50, tombstoneShareMax: 0.1 });
  const collection = collections.get('docs');
  const ids = [...possible.keys()];
  const found = new Map((await collection.get(ids)).map((document) => [document.id, document]));
  for (const [id, values] of possible) {
    const document = found.get(id);
    const value = document?.metadata?.value as number | undefined;
    expect([...values], id).toContain(value);
    possible.set(id, new Set([value]));
    if (document) expect(document.text).toBe(`value ${value}`);
  }
  const { documents, index } = await collection.info();
  expect(documents).toBe(found.size);
  expect(index.vectors).toBe(found.size);
  for (const [id, document] of [...found].slice(0, 40)) {
    const value = document.metadata!.value as number;
    const ask = { vector: vectorOf(value), text: String(value), k: 5, include: [] };
    for (const mode of ['dense', 'sparse'] as const) {
      const { results } = await collection.search({ ...ask, mode });
      expect(
        results.map((result) => result.id),
        `${mode} search for ${id}`,
      ).toContain(id);
      for (const result of results) expect(found.has(result.id), `${result.id} came back`).toBe(true);
    }
  }
  await collections.close();
}

test(
  `an acknowledged write survives SIGKILL and nothing deleted comes back, ${ROUNDS} times`,
  async () => {
    const dataDir = temporaryFolder();
    const random = seededRandom(11);
    const possible: Possible = new Map();
    for (let round = 0; round < ROUNDS; round++) {
      const args = [CHILD, dataDir, String(round + 1)];
      apply(possible, await linesOfKilled(args, { started: '"done"', delayMs: random() * 250 }));
      await look(dataDir, possible);
    }
    expect(possible.size).toBeGreaterThan(50);
  },
  ROUNDS * 20_000,
);
