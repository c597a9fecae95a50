/** Latency of queries: many clients at once, and a steady trickle with and without bulk work beside it. */
import { quantile } from '../report.js';
import { LoadClient } from './load.js';
import type { Endpoint } from './peer.js';

export const CLIENTS = 16;
const QUERY_EVERY_MS = 50;
const INGEST_TEXTS_PER_REQUEST = 16;
const INGEST_IN_FLIGHT = 8;

export interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export const latencyOf = (milliseconds: readonly number[]): Latency => ({
  p50Ms: quantile(milliseconds, 0.5),
  p99Ms: quantile(milliseconds, 0.99),
});

/** `CLIENTS` clients, each sending its next query when the last is answered. */
export async function concurrentQueries(
  endpoint: Endpoint,
  texts: readonly string[],
): Promise<Latency & { textsPerSecond: number }> {
  const client = new LoadClient(endpoint);
  const bodies = texts.map((text) => client.body([text]));
  const { milliseconds, seconds } = await client.run(bodies, CLIENTS);
  client.close();
  return { ...latencyOf(milliseconds), textsPerSecond: texts.length / seconds };
}

/**
 * A query every 50 ms, whether or not the last one is answered, so that a stall counts for all that it delays.
 * @returns the milliseconds of each.
 */
async function steadyQueries(client: LoadClient, texts: readonly string[]): Promise<number[]> {
  const bodies = texts.map((text) => client.body([text]));
  const start = performance.now();
  return Promise.all(
    bodies.map(async (body, i) => {
      const due = start + i * QUERY_EVERY_MS;
      await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
      await client.post(body);
      return performance.now() - due;
    }),
  );
}

/** Bulk requests without end until `until` settles. @returns texts a second. */
async function ingest(client: LoadClient, texts: Iterator<string>, until: Promise<unknown>): Promise<number> {
  let going = true;
  void until.finally(() => {
    going = false;
  });
  let answered = 0;
  const start = performance.now();
  let last = start;
  const sender = async (): Promise<void> => {
    while (going) {
      const slice = Array.from({ length: INGEST_TEXTS_PER_REQUEST }, () => texts.next().value as string);
      await client.post(client.body(slice));
      answered += slice.length;
      last = performance.now();
    }
  };
  await Promise.all(Array.from({ length: INGEST_IN_FLIGHT }, sender));
  return answered / ((last - start) / 1000);
}

/** `Queries` is what is told of queries: the milliseconds of each, or their latency. */
export interface BesideIngest<Queries> {
  readonly idle: Queries;
  readonly busy: Queries;
  /** Texts a second. */
  readonly ingestAlone: number;
  readonly ingestBeside: number;
}

/** The same ingest without and with queries, and the same trickle of queries without and with ingest. */
export async function queriesBesideIngest(
  endpoint: Endpoint,
  queries: Iterator<string>,
  passages: Iterator<string>,
  count: number,
): Promise<BesideIngest<readonly number[]>> {
  const client = new LoadClient(endpoint);
  const next = (): string[] => Array.from({ length: count }, () => queries.next().value as string);
  const pause = new Promise((resolve) => setTimeout(resolve, count * QUERY_EVERY_MS));
  const ingestAlone = await ingest(client, passages, pause);
  const idle = await steadyQueries(client, next());
  const asked = steadyQueries(client, next());
  const [busy, ingestBeside] = await Promise.all([asked, ingest(client, passages, asked)]);
  client.close();
  return { idle, busy, ingestAlone, ingestBeside };
}
