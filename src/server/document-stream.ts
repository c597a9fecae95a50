/**
 * Ingests NDJSON of any length: lines are gathered into groups, each embedded and committed as one. Always true: at most
 * GROUPS_IN_FLIGHT groups are in memory (while one is being written, the next is embedded), and when they are, the socket
 * is not read; groups are committed in the order of their lines, so of two lines with one id the later stays.
 */
import { Compile } from 'typebox/compile';
import { AnchorageError } from '../errors.js';
import { modelId } from '../model/manifest.js';
import { type DocumentBody, DocumentSchema } from './document-embedding.js';
import { storeDocuments } from './live-collection.js';
import { type Line, ndjsonLines } from './ndjson.js';
import type { Parts } from './parts.js';
import { describeTypeBoxErrors } from './schema-errors.js';

const GROUP_DOCUMENTS = 128;
const GROUP_CHARACTERS = 512 * 1024;
const GROUPS_IN_FLIGHT = 3;

export interface Ingest {
  readonly body: AsyncIterable<Buffer>;
  /** The collection. */
  readonly name: string;
  readonly promptName: string | undefined;
  readonly signal: AbortSignal;
}

/** What is stored so far: every line up to `line` is on disk. */
export interface Progress {
  readonly line: number;
  readonly upserted: number;
  readonly sequence: number;
  /** name@version that embedded the last group. */
  readonly modelVersion: string;
}

const document = Compile(DocumentSchema);

/** @throws AnchorageError naming the line; what was yielded before stays stored. */
export async function* ingest(parts: Parts, request: Ingest): AsyncGenerator<Progress> {
  const writing: Promise<Progress>[] = [];
  let upserted = 0;
  let last: Promise<unknown> = Promise.resolve();
  const start = (group: readonly Line[]): void => {
    const stored = storeGroup(parts, request, { group, after: last }).then(
      ({ sequence, upserted: count, embedder }) => {
        upserted += count;
        return { line: group.at(-1)!.number, upserted, sequence, modelVersion: modelId(embedder.manifest) };
      },
    );
    // Awaited below in order; until then a failure must not count as unhandled.
    stored.catch(() => {});
    last = stored;
    writing.push(stored);
  };
  for await (const group of groups(ndjsonLines(request.body, parts.config.bodyBytesMax))) {
    start(group);
    if (writing.length >= GROUPS_IN_FLIGHT) yield await writing.shift()!;
  }
  for (const stored of writing) yield await stored;
}

/** A group ends when it is full, or when an id would come twice in it. */
async function* groups(lines: AsyncIterable<Line>): AsyncGenerator<Line[]> {
  let group: Line[] = [];
  let ids = new Set<string>();
  let characters = 0;
  for await (const line of lines) {
    const { id, text } = checked(line);
    const isFull = group.length >= GROUP_DOCUMENTS || characters >= GROUP_CHARACTERS;
    if (group.length > 0 && (isFull || (id !== undefined && ids.has(id)))) {
      yield group;
      group = [];
      ids = new Set();
      characters = 0;
    }
    group.push(line);
    if (id !== undefined) ids.add(id);
    characters += text?.length ?? 0;
  }
  if (group.length > 0) yield group;
}

function checked({ number, value }: Line): DocumentBody {
  if (document.Check(value)) return value;
  const { message } = describeTypeBoxErrors(document.Errors(value));
  throw new AnchorageError('VALIDATION', `line ${number}: ${message}`, { field: `line ${number}` });
}

function storeGroup(
  parts: Parts,
  { name, promptName, signal }: Ingest,
  { group, after }: { group: readonly Line[]; after: Promise<unknown> },
): ReturnType<typeof storeDocuments> {
  const documents = group.map(({ value }) => value as DocumentBody);
  const nameOf = (index: number): string => `line ${group[index]!.number}`;
  return storeDocuments(parts, { name, documents, promptName, signal, nameOf, after });
}
