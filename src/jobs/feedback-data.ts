/**
 * Feedback as data: what people said of search results becomes training records and an evaluation set. A part of the
 * queries, the same for the same seed, is kept aside to judge by; the others join the training set.
 */
import { appendFile, copyFile, link, mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Collection } from '../index/collection.js';
import type { JudgedQuery } from './feedback-tables.js';
import { isHeldOut } from './held-out.js';

const DOCUMENTS_A_READ = 500;

export interface FeedbackDataRequest {
  readonly judged: readonly JudgedQuery[];
  readonly collection: Collection;
  /** JSON lines of records. */
  readonly train: string;
  /** Receives them, and those of the feedback. */
  readonly output: string;
  /** Of the collection, with `_id` and `text`: what is searched when the kept-aside queries judge. */
  readonly corpus: string;
  /** Receives the evaluation set. */
  readonly set: string;
  readonly share: number;
  readonly seed: number;
}

export interface FeedbackData {
  /** Records that were appended. */
  readonly trained: number;
  /** Queries of the evaluation set; where it is 0, there is none. */
  readonly queries: number;
}

/** Documents that are gone or have no text are passed over. */
export async function feedbackData(request: FeedbackDataRequest): Promise<FeedbackData> {
  const { judged, collection, share, seed } = request;
  const texts = await textsOf(collection, judged);
  const known = judged.map((query) => ({
    ...query,
    labels: query.labels.filter(({ documentId }) => texts.has(documentId)),
  }));
  const answered = known.filter(({ labels }) => labels.some(({ label }) => label > 0));
  // By the text: the same question asked twice must not be on both sides.
  const isAside = ({ text }: JudgedQuery): boolean => isHeldOut(text.toLowerCase().trim(), { share, seed });
  const records = answered.filter((query) => !isAside(query)).map((query) => recordOf(query, texts));
  const staging = `${request.output}.part`;
  await copyFile(request.train, staging);
  await appendFile(staging, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  await rename(staging, request.output);
  const aside = answered.filter(isAside);
  if (aside.length > 0) await writeSet(request, aside);
  return { trained: records.length, queries: aside.length };
}

/** As the trainer reads it: the best answer, and what was said to be none. */
function recordOf({ text, labels }: JudgedQuery, texts: ReadonlyMap<string, string>) {
  const best = labels.reduce((one, other) => (other.label > one.label ? other : one));
  const wrong = labels.filter(({ label }) => label === 0);
  const neg = [...new Set(wrong.map(({ documentId }) => texts.get(documentId)!))].filter(
    (one) => one !== texts.get(best.documentId),
  );
  return { query: text, pos: [texts.get(best.documentId)!], neg, neg_levels: neg.map(() => 1), task: 'feedback' };
}

async function writeSet({ corpus, set }: FeedbackDataRequest, aside: readonly JudgedQuery[]): Promise<void> {
  await mkdir(join(set, 'qrels'), { recursive: true });
  const queries = aside.map(({ id, text }) => JSON.stringify({ _id: id, text }));
  const judgements = aside.flatMap(({ id, labels }) =>
    labels.flatMap(({ documentId, label }) => (label > 0 ? [`${id}\t${documentId}\t${Math.ceil(label)}`] : [])),
  );
  await writeFile(join(set, 'queries.jsonl'), `${queries.join('\n')}\n`);
  await writeFile(join(set, 'qrels', 'test.tsv'), `${['query-id\tcorpus-id\tscore', ...judgements].join('\n')}\n`);
  const target = join(set, 'corpus.jsonl');
  await link(corpus, target).catch(() => copyFile(corpus, target));
}

async function textsOf(collection: Collection, judged: readonly JudgedQuery[]): Promise<Map<string, string>> {
  const ids = [...new Set(judged.flatMap(({ labels }) => labels.map(({ documentId }) => documentId)))];
  const texts = new Map<string, string>();
  for (let at = 0; at < ids.length; at += DOCUMENTS_A_READ) {
    for (const { id, text } of await collection.get(ids.slice(at, at + DOCUMENTS_A_READ), ['text'])) {
      if (text !== undefined && text.trim() !== '') texts.set(id, text);
    }
  }
  return texts;
}
