import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { holdOut } from '../../src/jobs/held-out.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'anchorage-heldout-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Two records a passage: one that asks, one that does not. */
function prepare(passages: number): { records: string; corpus: string } {
  const [records, corpus] = [join(folder, 'records.jsonl'), join(folder, 'corpus.jsonl')];
  const lines = Array.from({ length: passages }, (_, at) => [
    { id: `a${at}`, query: `question ${at}`, passage_id: `p${at}`, task_type: 'short-long' },
    { id: `b${at}`, query: `long text ${at}`, passage_id: `p${at}`, task_type: 'long-short' },
  ]).flat();
  writeFileSync(records, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const texts = Array.from({ length: passages }, (_, at) => ({
    _id: `p${at}`,
    title: `Title ${at}`,
    text: `Passage ${at}`,
  }));
  writeFileSync(corpus, texts.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return { records, corpus };
}

const read = (path: string): string[] => readFileSync(path, 'utf8').trim().split('\n');

describe('what is held out', () => {
  it('shares no passage with what is trained on, and is judged over the whole corpus', async () => {
    const made = await holdOut({ ...prepare(200), folder, share: 0.25, seed: 1 });
    const trained = read(made.train).map((line) => JSON.parse(line) as { passage_id: string });
    const [, ...judgements] = read(join(made.set, 'qrels', 'test.tsv')).map((line) => line.split('\t'));
    const aside = new Set(judgements.map(([, passage]) => passage!));
    expect(trained.filter(({ passage_id: passage }) => aside.has(passage))).toEqual([]);
    expect(made.queries).toBe(aside.size);
    expect(made.queries).toBeGreaterThan(30);
    expect(made.queries).toBeLessThan(70);
    expect(trained.length).toBe(2 * (200 - aside.size));
    const queries = read(join(made.set, 'queries.jsonl')).map(
      (line) => JSON.parse(line) as { _id: string; text: string },
    );
    expect(queries.every(({ text }) => text.startsWith('question'))).toBe(true);
    const corpus = read(join(made.set, 'corpus.jsonl'));
    expect(corpus).toHaveLength(200);
    // Indexed is the text: a title would give the passage away.
    expect(JSON.parse(corpus[0]!)).toEqual({ _id: 'p0', title: '', text: 'Passage 0' });
  });

  it('is the same for the same seed, and another for another', async () => {
    const places = prepare(200);
    const set = async (seed: number): Promise<string[]> =>
      read(join((await holdOut({ ...places, folder, share: 0.25, seed })).set, 'queries.jsonl'));
    const first = await set(1);
    expect(await set(1)).toEqual(first);
    expect(await set(2)).not.toEqual(first);
  });

  it('is refused where it is too little to judge by', async () => {
    await expect(holdOut({ ...prepare(20), folder, share: 0.25, seed: 1 })).rejects.toThrow(/could be kept aside/);
  });
});
