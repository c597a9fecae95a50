/** A server in a process of its own, driven by the load client. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { leaveNoneBehind } from '../server-process.js';
import { BULK_IN_FLIGHT, LoadClient, slicesOf } from './load.js';
import type { Endpoint, OpenPeer } from './peer.js';

const READY_WITHIN_MS = 180_000;
const RETRY_MS = 250;
const COMPLAINT_CHARACTERS = 800;
const TEXTS_PER_REQUEST = [32, 128];

export interface ServerCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly endpoint: Endpoint;
}

/** Starts the server and waits until it embeds. @throws Error with the end of its output where it never does. */
export async function openServer({ program, args, cwd, env, endpoint }: ServerCommand): Promise<OpenPeer> {
  const child = spawn(program, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  // Rejects where the program cannot be run.
  await once(child, 'spawn');
  leaveNoneBehind(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-COMPLAINT_CHARACTERS);
    });
  }
  const peer = overHttp(endpoint, child.pid!, async () => {
    if (child.exitCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    const patience = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exit;
    clearTimeout(patience);
  });
  const deadline = performance.now() + READY_WITHIN_MS;
  for (;;) {
    try {
      await peer.vectors(['ready?'], 1);
      return peer;
    } catch (error) {
      if (child.exitCode === null && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        continue;
      }
      await peer.close();
      throw new Error(`the server did not get ready (${(error as Error).message}): ${output}`);
    }
  }
}

/** What the comparison needs, over an embeddings route. */
export function overHttp(endpoint: Endpoint, pid: number, stop: () => Promise<void>): OpenPeer {
  const client = new LoadClient(endpoint);
  return {
    pid,
    http: endpoint,
    batchSizes: TEXTS_PER_REQUEST,
    bulk: async (texts, textsPerRequest) => {
      const bodies = slicesOf(texts, textsPerRequest).map((slice) => client.body(slice));
      return (await client.run(bodies, BULK_IN_FLIGHT)).seconds;
    },
    oneByOne: async (texts) => {
      const bodies = texts.map((text) => client.body([text]));
      return (await client.run(bodies, 1)).milliseconds;
    },
    vectors: async (texts, textsPerRequest) => {
      const rows: Float32Array[] = [];
      for (const slice of slicesOf(texts, textsPerRequest)) rows.push(...(await client.vectors(slice)));
      return rows;
    },
    close: async () => {
      client.close();
      await stop();
    },
  };
}

/** A port that was free a moment ago, for servers that cannot choose one and tell. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
