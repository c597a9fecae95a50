/** Vectors for bench/search.ts: read from a file of raw float32 rows, or embedded from texts by the product and kept there. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { type Config, readConfig } from '../src/config.js';
import { createMetrics } from '../src/metrics.js';
import { ModelRegistry } from '../src/model/registry.js';

export interface Vectors {
  readonly dimensions: number;
  readonly base: readonly Float32Array[];
  /** Not among the base. */
  readonly queries: readonly Float32Array[];
}

export interface VectorSource {
  /** Raw little-endian float32, row after row. */
  readonly file: string;
  /** JSONL (gzipped) of {query, positive}: titles and abstracts. Only read where the file is not there. */
  readonly texts: string;
  readonly dimensions: number;
  readonly count: number;
  readonly queries: number;
}

export async function loadVectors(source: VectorSource): Promise<Vectors> {
  if (!existsSync(source.file)) await embedTexts(source);
  const { buffer, byteOffset, byteLength } = readFileSync(source.file);
  const all = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
  const row = (n: number): Float32Array => all.subarray(n * source.dimensions, (n + 1) * source.dimensions);
  const rows = all.length / source.dimensions;
  const available = rows - source.count;
  const step = Math.max(1, Math.floor(available / source.queries));
  return {
    dimensions: source.dimensions,
    base: shuffled(source.count).map(row),
    queries: Array.from({ length: Math.min(source.queries, available) }, (_, n) => row(source.count + n * step)),
  };
}

async function embedTexts({ file, texts, count, queries }: VectorSource): Promise<void> {
  const lines = gunzipSync(readFileSync(texts)).toString().trim().split('\n');
  const pairs = lines.map((line) => JSON.parse(line) as { query: string; positive: string });
  const wanted = [...pairs.map(({ query }) => query), ...pairs.map(({ positive }) => positive)].slice(
    0,
    count + queries,
  );
  const config = readConfig({ argv: [], env: {} }) as Config;
  const models = await ModelRegistry.open({ ...config, metrics: createMetrics() });
  const pieces: Buffer[] = [];
  for (let first = 0; first < wanted.length; first += 1024) {
    const { vectors } = await models.live.embed(wanted.slice(first, first + 1024), { lane: 'bulk', normalize: true });
    pieces.push(Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength));
    process.stderr.write(`\rembedded ${first}/${wanted.length}`);
  }
  await models.close();
  writeFileSync(file, Buffer.concat(pieces));
}

/** In a fixed random order: titles first and abstracts after them would be two different builds. */
function shuffled(count: number): number[] {
  const order = Array.from({ length: count }, (_, n) => n);
  let state = 7;
  for (let n = count - 1; n > 0; n--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = state % (n + 1);
    [order[n], order[other]] = [order[other]!, order[n]!];
  }
  return order;
}
