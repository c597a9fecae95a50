/**
 * Vectors for bench/search.ts: titles and abstracts of papers as the searched, other papers' titles as the queries, embedded
 * by the product's default model. They are kept in a folder, file by file as they are made, so that a run that was broken
 * off goes on where it stopped and the next run embeds nothing.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type Config, readConfig } from '../src/config.js';
import type { ModelIdentity } from '../src/index/collection-settings.js';
import { createMetrics } from '../src/metrics.js';
import { modelIdentity } from '../src/model/manifest.js';
import { promptFor } from '../src/model/prompts.js';
import { ModelRegistry } from '../src/model/registry.js';

export interface Vectors {
  readonly model: ModelIdentity;
  /** Of length 1; titles and abstracts in one fixed random order. */
  readonly base: readonly Float32Array[];
  readonly queries: readonly Float32Array[];
}

export interface VectorSource {
  /** Where vectors are kept: raw little-endian float32 rows. */
  readonly folder: string;
  /** JSONL, gzipped: {query, positive}, a title and its abstract. Read only for vectors that are not kept yet. */
  readonly papers: string;
  /** JSONL, gzipped: {text}, titles of papers that are not among `papers`. */
  readonly queryTitles: string;
  /** Half of them titles, half of them the abstracts of the same papers. */
  readonly count: number;
  readonly queries: number;
}

/** Flags of every bench that works on these vectors, for parseArgs. */
export const VECTOR_OPTIONS = {
  papers: { type: 'string', default: '' },
  'query-titles': { type: 'string', default: '' },
  vectors: { type: 'string', default: '/tmp/anchorage-bench-search' },
  count: { type: 'string', default: '100000' },
  queries: { type: 'string', default: '1000' },
} as const;

export const vectorSource = (flags: Record<keyof typeof VECTOR_OPTIONS, string>): VectorSource => ({
  folder: flags.vectors,
  papers: flags.papers,
  queryTitles: flags['query-titles'],
  count: Number(flags.count),
  queries: Number(flags.queries),
});

/** Texts embedded between two writes of the file. */
const GROUP = 512;

export async function loadVectors(source: VectorSource): Promise<Vectors> {
  mkdirSync(source.folder, { recursive: true });
  const config = readConfig({ argv: [], env: {} }) as Config;
  const models = await ModelRegistry.open({ ...config, metrics: createMetrics() });
  const model = modelIdentity(models.live.manifest);
  refuseOtherModel(source.folder, model.id);
  const papers = Math.ceil(source.count / 2);
  const kept = (name: string, wanted: Pick<Wanted, 'file' | 'field' | 'count' | 'role'>): Promise<Float32Array[]> =>
    keptRows(join(source.folder, `${name}.f32`), models, wanted);
  const titles = await kept('titles', { file: source.papers, field: 'query', count: papers, role: 'document' });
  const abstracts = await kept('abstracts', {
    file: source.papers,
    field: 'positive',
    count: papers,
    role: 'document',
  });
  const { queryTitles, queries: count } = source;
  const queries = await kept('queries', { file: queryTitles, field: 'text', count, role: 'query' });
  await models.close();
  const base = [...titles, ...abstracts];
  return { model, base: shuffled(base.length).map((n) => base[n]!), queries };
}

/** Share of a neighbour's direction that is noise: its cosine to the vector that it was made of is about 0.95. */
const NOISE_LENGTH = 0.33;

/** @returns `copies` vectors for each: itself, and others near it, so that more are searched than there are texts for. */
export function withNeighbours(vectors: Vectors, copies: number): Vectors {
  const neighbour = (vector: Float32Array): Float32Array => {
    const spread = NOISE_LENGTH * Math.sqrt(3 / vector.length);
    const moved = vector.map((x) => x + spread * (random() / 2 ** 31 - 1));
    const length = Math.sqrt(moved.reduce((sum, x) => sum + x * x, 0));
    return moved.map((x) => x / length);
  };
  const random = randomNumbers(11);
  const rounds = Array.from({ length: copies - 1 }, () => vectors.base.map(neighbour));
  return { ...vectors, base: [vectors.base, ...rounds].flat() };
}

interface Wanted {
  /** JSONL, gzipped; the texts are the first `count` lines' fields. */
  readonly file: string;
  readonly field: string;
  readonly count: number;
  readonly role: 'query' | 'document';
}

async function keptRows(path: string, models: ModelRegistry, wanted: Wanted): Promise<Float32Array[]> {
  const { manifest } = models.live;
  const bytesARow = manifest.dimensions * 4;
  const kept = existsSync(path) ? Math.floor(statSync(path).size / bytesARow) : 0;
  if (kept > 0) truncateSync(path, kept * bytesARow);
  const prompt = promptFor(wanted.role, undefined, manifest);
  const lacking = kept < wanted.count ? textsOf(wanted).slice(kept) : [];
  for (let first = 0; first < lacking.length; first += GROUP) {
    const group = lacking.slice(first, first + GROUP);
    const { vectors } = await models.live.embed(group, { lane: 'bulk', normalize: true, prompt });
    appendFileSync(path, Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength));
    process.stderr.write(`\r${path}: ${kept + first + group.length} of ${wanted.count} `);
  }
  const bytes = readFileSync(path);
  return Array.from({ length: wanted.count }, (_, row) => rowOf(bytes, row * bytesARow, bytesARow));
}

/** A copy in a buffer of its own: what crosses to a thread is the whole buffer. */
function rowOf(bytes: Buffer, at: number, length: number): Float32Array {
  return new Float32Array(Uint8Array.prototype.slice.call(bytes, at, at + length).buffer);
}

function textsOf({ file, field, count }: Wanted): string[] {
  const lines = gunzipSync(readFileSync(file)).toString().trim().split('\n').slice(0, count);
  if (lines.length < count) throw new Error(`${file} has ${lines.length} lines, ${count} are wanted`);
  return lines.map((line) => (JSON.parse(line) as Record<string, string>)[field]!);
}

function refuseOtherModel(folder: string, id: string): void {
  const file = join(folder, 'model.txt');
  const held = existsSync(file) ? readFileSync(file, 'utf8') : id;
  if (held !== id) throw new Error(`${folder} holds vectors of ${held}, the model is ${id}: name another folder`);
  writeFileSync(file, id);
}

function shuffled(count: number): number[] {
  const order = Array.from({ length: count }, (_, n) => n);
  const random = randomNumbers(7);
  for (let n = count - 1; n > 0; n--) {
    const other = random() % (n + 1);
    [order[n], order[other]] = [order[other]!, order[n]!];
  }
  return order;
}

/** A linear congruential generator. @returns whole numbers below 2^32. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
}
