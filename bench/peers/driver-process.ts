/**
 * A library in a process of its own. One line of JSON a question on its standard input, one a answer on its descriptor 3
 * (its standard output is not used, because libraries print there). The driver times its embed call alone, so neither the
 * pipe nor JSON counts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { OpenPeer } from './peer.js';

const COMPLAINT_CHARACTERS = 800;
const BATCH_SIZES = [1, 8, 32];

export interface DriverCommand {
  readonly program: string;
  /** The script and whatever it takes. */
  readonly args: readonly string[];
  readonly threads: number;
}

interface Question {
  readonly texts: readonly string[];
  readonly batchSize: number;
  /** true: one call a text, each timed. */
  readonly each?: boolean;
  readonly vectors?: boolean;
}

interface Answer {
  /** One figure for the whole, or one a text. */
  readonly seconds: readonly number[];
  /** Base64 of little-endian float32, a text after the other. */
  readonly vectors?: string;
  readonly error?: string;
}

/** @throws Error with what the driver wrote to standard error where it ends before it is ready. */
export async function openDriver({ program, args, threads }: DriverCommand): Promise<OpenPeer> {
  const child = spawn(program, args, {
    stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
    env: { ...process.env, OMP_NUM_THREADS: String(threads), HF_HUB_OFFLINE: '1', TOKENIZERS_PARALLELISM: 'true' },
  });
  let complaints = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    complaints = (complaints + chunk.toString()).slice(-COMPLAINT_CHARACTERS);
  });
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`ended with ${code}: ${complaints}`)));
  ended.catch(() => undefined);
  const lines = createInterface(child.stdio[3] as Readable);
  const nextLine = async (): Promise<Answer> => {
    const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string];
    return JSON.parse(line) as Answer;
  };
  const ask = async (question: Question): Promise<Answer> => {
    const answer = nextLine();
    child.stdin!.write(`${JSON.stringify(question)}\n`);
    const { error, ...rest } = await answer;
    if (error) throw new Error(error);
    return rest;
  };
  const { error } = await nextLine();
  if (error) throw new Error(error);
  return {
    pid: child.pid!,
    batchSizes: BATCH_SIZES,
    bulk: async (texts, batchSize) => (await ask({ texts, batchSize })).seconds[0]!,
    oneByOne: async (texts) => (await ask({ texts, batchSize: 1, each: true })).seconds.map((s) => s * 1000),
    vectors: async (texts, batchSize) => {
      const { vectors } = await ask({ texts, batchSize, vectors: true });
      return rowsOf(Buffer.from(vectors!, 'base64'), texts.length);
    },
    close: async () => {
      if (child.exitCode !== null) return;
      const exit = once(child, 'exit');
      child.stdin!.end();
      await exit;
    },
  };
}

/** [rows x dimensions] little-endian float32, cut into rows. */
export function rowsOf(bytes: Buffer, rows: number): Float32Array[] {
  const all = new Float32Array(new Uint8Array(bytes).buffer);
  const dimensions = all.length / rows;
  return Array.from({ length: rows }, (_, row) => all.subarray(row * dimensions, (row + 1) * dimensions));
}
