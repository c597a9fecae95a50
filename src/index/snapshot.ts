/**
 * The graph on disk, so that a start need not build it again.
 *
 *   graph-<generation>.snapshot
 *   +--------------------------+----------------+-----------------+----------------+----------+
 *   | usearch's own format     | trailer (JSON) | SHA-256         | trailer length | ANCHGRF2 |
 *   | (loaded from offset 0)   |                | 32 bytes        | u32 LE         | 8 bytes  |
 *   +--------------------------+----------------+-----------------+----------------+----------+
 *
 * The hash is over the first two and the trailer's length: without the length, a flipped bit in it would only move the
 * border between the two, and the hash would still be right.
 *
 * Writing one:
 *   1. usearch writes graph-<generation>.snapshot.tmp; the stamp is taken in the same breath, so both speak of one moment.
 *   2. The file is hashed; trailer, hash, length and magic are appended.
 *   3. fsync of the file, 4. rename over it without .tmp, 5. fsync of the folder.
 * A crash before 4 leaves the old snapshot and a .tmp that the next start deletes.
 *
 * Always true: a file is given to usearch only after its hash was right and its stamp fits the rows; anything else is
 * refused with a reason, and the graph is built again from the rows. usearch itself believes what it reads.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { type FileHandle, open, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type GraphShape, HnswGraph } from './hnsw.js';

export const snapshotFile = (generation: number): string => `graph-${generation}.snapshot`;

const MAGIC = 'ANCHGRF2';
const HASH_BYTES = 32;
const FOOTER_BYTES = HASH_BYTES + 4 + MAGIC.length;
const TRAILER_BYTES_MAX = 16 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;

/** What the graph reflects. */
export interface Stamp {
  readonly lifeId: string;
  readonly generation: number;
  readonly sequence: number;
  /** Labels up to here are in the graph, but for `missing`. */
  readonly lastLabel: number;
  readonly missing: readonly number[];
  readonly nodes: number;
  readonly shape: GraphShape;
  readonly writtenAt: string;
}

/** The rows that a snapshot must fit. */
export interface Expectation {
  readonly lifeId: string;
  readonly generation: number;
  readonly sequence: number;
  readonly shape: GraphShape;
}

export async function writeSnapshot(folder: string, graph: HnswGraph, stamp: Stamp): Promise<{ bytes: number }> {
  const target = join(folder, snapshotFile(stamp.generation));
  const temporary = `${target}.tmp`;
  graph.save(temporary);
  const file = await open(temporary, 'r+');
  try {
    const trailer = Buffer.from(JSON.stringify(stamp));
    const { size } = await file.stat();
    const hash = await hashOf(file, size, trailer);
    await file.write(Buffer.concat([trailer, hash, lengthField(trailer), Buffer.from(MAGIC)]), 0, undefined, size);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, target);
  await syncFolder(folder);
  return { bytes: (await stat(target)).size };
}

export type Loaded = { readonly graph: HnswGraph; readonly stamp: Stamp } | { readonly reason: string };

/** @returns the graph and its stamp, or why there is none to be had. */
export async function loadSnapshot(folder: string, expected: Expectation): Promise<Loaded> {
  const path = join(folder, snapshotFile(expected.generation));
  rmSync(`${path}.tmp`, { force: true });
  if (!existsSync(path)) return { reason: 'there is none' };
  const stamp = await readStamp(path);
  if (typeof stamp === 'string') return { reason: stamp };
  const misfit = misfitOf(stamp, expected);
  if (misfit !== undefined) return { reason: misfit };
  try {
    const graph = HnswGraph.load(path, stamp.shape);
    if (graph.nodes !== stamp.nodes) return { reason: `it has ${graph.nodes} nodes, not ${stamp.nodes}` };
    return { graph, stamp };
  } catch (error) {
    return { reason: `usearch refused it: ${(error as Error).message}` };
  }
}

/** Of generations that are not searched any more. */
export function removeSnapshotsBut(folder: string, generations: readonly (number | undefined)[]): void {
  const kept = new Set(generations.map((generation) => generation !== undefined && snapshotFile(generation)));
  for (const file of readdirSync(folder)) {
    if (file.endsWith('.snapshot') && !kept.has(file)) rmSync(join(folder, file), { force: true });
  }
}

/** @returns the stamp of a file whose checksum is right, or what is wrong with it. */
async function readStamp(path: string): Promise<Stamp | string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size < FOOTER_BYTES) return `${size} bytes are too few`;
    const footer = await readAt(file, size - FOOTER_BYTES, FOOTER_BYTES);
    if (footer.toString('latin1', HASH_BYTES + 4) !== MAGIC)
      return 'it ends in the wrong bytes: torn, or another format';
    const trailerBytes = footer.readUInt32LE(HASH_BYTES);
    const graphBytes = size - FOOTER_BYTES - trailerBytes;
    if (graphBytes < 0 || trailerBytes > TRAILER_BYTES_MAX) return 'its trailer length is out of bounds';
    const trailer = await readAt(file, graphBytes, trailerBytes);
    const hash = await hashOf(file, graphBytes, trailer);
    if (!hash.equals(footer.subarray(0, HASH_BYTES))) return 'its checksum is wrong';
    return JSON.parse(trailer.toString()) as Stamp;
  } finally {
    await file.close();
  }
}

function misfitOf(stamp: Stamp, expected: Expectation): string | undefined {
  if (stamp.lifeId !== expected.lifeId) return 'it belongs to another collection';
  if (stamp.generation !== expected.generation)
    return `it is of generation ${stamp.generation}, not ${expected.generation}`;
  if (JSON.stringify(stamp.shape) !== JSON.stringify(expected.shape)) return 'its graph has another shape';
  if (stamp.sequence > expected.sequence)
    return `it reflects change ${stamp.sequence}, the rows end at ${expected.sequence}`;
  return undefined;
}

async function hashOf(file: FileHandle, graphBytes: number, trailer: Buffer): Promise<Buffer> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  for (let at = 0; at < graphBytes; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(READ_BYTES, graphBytes - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.update(trailer).update(lengthField(trailer)).digest();
}

function lengthField(trailer: Buffer): Buffer {
  const field = Buffer.alloc(4);
  field.writeUInt32LE(trailer.length);
  return field;
}

async function readAt(file: FileHandle, at: number, bytes: number): Promise<Buffer> {
  const { buffer } = await file.read(Buffer.alloc(bytes), 0, bytes, at);
  return buffer;
}

/** A rename is durable once its folder is. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
