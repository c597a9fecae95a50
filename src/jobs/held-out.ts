/**
 * Keeps part of a data set aside before training: all records of some passages, whose queries then judge the result. What
 * is written is a data set without them, and an evaluation set in BEIR's layout: every passage of the corpus, the queries
 * that were kept aside, and for each the passage that it was made from.
 *
 * Always true: no query that judges was trained on, nor was its passage anybody's positive. (It may be a negative.)
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { JobFailure } from './job.js';

const QUERIES_MAX = 2_000;
/** Below, no difference between two models can be told from chance. */
const QUERIES_MIN = 20;
/** What people type: a query for which a whole document is sought, not a document for which a title is. */
const ASKING = new Set(['short-long', 'short-short']);

export interface HeldOutRequest {
  /** JSON lines as the trainer's synthesize writes them. */
  readonly records: string;
  /** JSON lines of {_id, title, text}. */
  readonly corpus: string;
  /** Receives train.jsonl and heldout/. */
  readonly folder: string;
  /** Of the passages, 0 to 1. */
  readonly share: number;
  readonly seed: number;
}

export interface HeldOut {
  readonly train: string;
  /** The evaluation set's folder. */
  readonly set: string;
  readonly trained: number;
  readonly queries: number;
}

interface SynthesizedRecord {
  readonly id: string;
  readonly query: string;
  readonly passage_id: string;
  readonly task_type: string;
}

/** @throws JobFailure `input` where too few queries are left to judge by. */
export async function holdOut(request: HeldOutRequest): Promise<HeldOut> {
  const { folder } = request;
  const set = join(folder, 'heldout');
  await mkdir(join(set, 'qrels'), { recursive: true });
  const lines: string[] = [];
  const queries = new Map<string, SynthesizedRecord>();
  for await (const { line, value } of jsonLines<SynthesizedRecord>(request.records)) {
    if (!isHeldOut(value.passage_id, request)) lines.push(line);
    else if (ASKING.has(value.task_type) && queries.size < QUERIES_MAX) queries.set(value.id, value);
  }
  if (queries.size < QUERIES_MIN) {
    const message = `only ${queries.size} queries could be kept aside to judge the result by, and ${QUERIES_MIN} are the least: raise synthesize.records or heldOut`;
    throw new JobFailure('input', message);
  }
  const ids = [...queries.values()];
  await write(
    join(set, 'queries.jsonl'),
    ids.map(({ id, query }) => JSON.stringify({ _id: id, text: query })),
  );
  const judgements = ids.map(({ id, passage_id }) => `${id}\t${passage_id}\t1`);
  await write(join(set, 'qrels', 'test.tsv'), ['query-id\tcorpus-id\tscore', ...judgements]);
  const passages: string[] = [];
  for await (const { value } of jsonLines<{ _id: string; text: string }>(request.corpus)) {
    // What is indexed is the text; a title that is metadata helps nobody to find it.
    passages.push(JSON.stringify({ _id: value._id, title: '', text: value.text }));
  }
  await write(join(set, 'corpus.jsonl'), passages);
  const train = join(folder, 'train.jsonl');
  await write(train, lines);
  return { train, set, trained: lines.length, queries: queries.size };
}

/** The same for the same seed and passage, whatever else is in the data. */
export function isHeldOut(passage: string, { share, seed }: Pick<HeldOutRequest, 'share' | 'seed'>): boolean {
  const digest = createHash('sha256').update(`${seed} ${passage}`).digest();
  return digest.readUInt32BE(0) / 2 ** 32 < share;
}

export async function* jsonLines<Value>(file: string): AsyncGenerator<{ line: string; value: Value }> {
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line.trim() !== '') yield { line, value: JSON.parse(line) as Value };
  }
}

async function write(path: string, lines: readonly string[]): Promise<void> {
  const staging = `${path}.part`;
  const file = await open(staging, 'w');
  try {
    for (let at = 0; at < lines.length; at += 1000) await file.write(`${lines.slice(at, at + 1000).join('\n')}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(staging, path);
}
