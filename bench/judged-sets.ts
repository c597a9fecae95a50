/** Sets with judgements, in BEIR's layout or made here, and how a list of results is scored against them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

export interface JudgedDocument {
  readonly id: string;
  /** Empty where the set has none. */
  readonly title: string;
  /** The title in front, where there is one. */
  readonly text: string;
  /** Without the title. */
  readonly body: string;
}

export interface JudgedQuery {
  readonly text: string;
  /** Document id -> grade; 0 and what is not in it is irrelevant. */
  readonly relevant: ReadonlyMap<string, number>;
}

export interface JudgedSet {
  readonly documents: readonly JudgedDocument[];
  readonly queries: readonly JudgedQuery[];
}

const linesOf = (path: string): string[] => {
  const bytes = existsSync(`${path}.gz`) ? gunzipSync(readFileSync(`${path}.gz`)) : readFileSync(path);
  return bytes.toString().trim().split('\n');
};

/** @param folder with corpus.jsonl, queries.jsonl and qrels/test.tsv, each gzipped or not. @param queriesMax the first of them. */
export function readSet(folder: string, queriesMax: number): JudgedSet {
  const relevant = new Map<string, Map<string, number>>();
  for (const line of linesOf(join(folder, 'qrels', 'test.tsv')).slice(1)) {
    const [query, document, grade] = line.trim().split('\t');
    const judged = relevant.get(query!) ?? new Map<string, number>();
    relevant.set(query!, judged.set(document!, Number(grade)));
  }
  const parse = (name: string) =>
    linesOf(join(folder, name)).map((line) => JSON.parse(line) as { _id: string; title?: string; text: string });
  const judged = parse('queries.jsonl').filter(({ _id }) => relevant.has(_id));
  const documents = parse('corpus.jsonl').map(({ _id, title = '', text }) => {
    return { id: _id, title, text: title ? `${title} ${text}` : text, body: text };
  });
  return {
    documents: documents.filter(({ text }) => text.trim() !== ''),
    queries: judged.slice(0, queriesMax).map(({ _id, text }) => ({ text, relevant: relevant.get(_id)! })),
  };
}

const FIRST = ['amber', 'brass', 'cedar', 'denim', 'ebony', 'felt', 'glass', 'hemp', 'ivory', 'jade', 'khaki', 'linen'];
const SECOND = [
  'anvils',
  'buckets',
  'candles',
  'drums',
  'easels',
  'flutes',
  'gloves',
  'hats',
  'inkwells',
  'jugs',
  'kites',
];
const THIRD = [
  'antique',
  'broken',
  'curved',
  'dusty',
  'empty',
  'folded',
  'giant',
  'hollow',
  'inlaid',
  'jointed',
  'knotted',
];

/**
 * As LIMIT's sets are (arXiv 2508.21038): every pair of documents is the answer to one query, which no single vector of few
 * dimensions can express. One liking for each pair of people; a query asks who has it.
 */
export function limitSet(people: number): JudgedSet {
  const likings = Array.from({ length: people }, () => [] as string[]);
  const queries: { text: string; relevant: Map<string, number> }[] = [];
  for (let a = 0; a < people; a++) {
    for (let b = a + 1; b < people; b++) {
      const n = queries.length;
      const words = [THIRD[Math.floor(n / 132) % 11], FIRST[n % 12], SECOND[Math.floor(n / 12) % 11]];
      const liking = words.join(' ');
      likings[a]!.push(liking);
      likings[b]!.push(liking);
      queries.push({
        text: `Who likes ${liking}?`,
        relevant: new Map([
          [String(a), 1],
          [String(b), 1],
        ]),
      });
    }
  }
  const documents = likings.map((liked, n) => {
    const text = `Person ${n} likes ${liked.join(', ')}.`;
    return { id: String(n), title: '', text, body: text };
  });
  return { documents, queries };
}

/** @param found ids, best first, at most k. */
export function ndcgAtK(found: readonly string[], relevant: ReadonlyMap<string, number>, k: number): number {
  const gain = (grade: number, rank: number): number => (2 ** grade - 1) / Math.log2(rank + 2);
  const ideal = [...relevant.values()].sort((a, b) => b - a).slice(0, k);
  const best = ideal.reduce((sum, grade, rank) => sum + gain(grade, rank), 0);
  return found.reduce((sum, id, rank) => sum + gain(relevant.get(id) ?? 0, rank), 0) / best;
}

export const recallAtK = (found: readonly string[], relevant: ReadonlyMap<string, number>, k: number): number =>
  found.filter((id) => (relevant.get(id) ?? 0) > 0).length / Math.min(k, relevant.size);
