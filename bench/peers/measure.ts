/** The rounds: every peer takes its turn at the same texts, in an order that rotates, before any peer's next turn. */
import { median } from '../report.js';
import type { OpenPeer, Peer } from './peer.js';
import { type BesideIngest, concurrentQueries, type Latency, latencyOf, queriesBesideIngest } from './queries.js';
import { type Texts, take, type Workload } from './workloads.js';

/** Threads of the peer before may still spin for work: they are given time to sleep. */
const SETTLE_MS = 200;
/** Share of a workload on which batch sizes are compared, and least number of texts for it. */
const SWEEP_SHARE = 0.25;
const SWEEP_TEXTS_MIN = 32;

export interface Contestant {
  readonly peer: Peer;
  readonly open: OpenPeer;
}

export interface BulkResult {
  readonly texts: number;
  readonly tokens: number;
  readonly batchSize: Record<string, number>;
  /** Texts a second, a figure a round. */
  readonly rates: Record<string, number[]>;
}

type Failed = (contestant: Contestant, error: Error) => void;

/** Calls `turn` once a round for each contestant; one that fails is left out from then on. */
async function inTurns(
  contestants: readonly Contestant[],
  rounds: number,
  failed: Failed,
  turn: (contestant: Contestant, round: number) => Promise<void>,
): Promise<void> {
  const out = new Set<Contestant>();
  for (let round = 0; round < rounds; round++) {
    const order = contestants.map((_, i) => contestants[(i + round) % contestants.length]!);
    for (const contestant of order) {
      if (out.has(contestant)) continue;
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      try {
        await turn(contestant, round);
      } catch (error) {
        out.add(contestant);
        failed(contestant, error as Error);
      }
    }
  }
}

export async function measureBulk(
  workload: Workload,
  contestants: readonly Contestant[],
  { rounds, texts, failed }: { rounds: number; texts: Texts; failed: Failed },
): Promise<BulkResult> {
  const batchSize: Record<string, number> = {};
  const rates: Record<string, number[]> = {};
  // Other texts for each size: a cache of embeddings would let the last one win.
  const sizes = Math.max(...contestants.map(({ open }) => open.batchSizes.length));
  const sweeps = Array.from({ length: sizes }, (_, i) => {
    const all = workload.texts(-1 - i);
    return all.slice(0, Math.max(SWEEP_TEXTS_MIN, Math.ceil(all.length * SWEEP_SHARE)));
  });
  await inTurns(contestants, 1, failed, async ({ peer, open }) => {
    const tried: { size: number; seconds: number }[] = [];
    for (const [i, size] of open.batchSizes.entries()) {
      tried.push({ size, seconds: await open.bulk(sweeps[i]!, size) });
    }
    batchSize[peer.name] = tried.reduce((best, one) => (one.seconds < best.seconds ? one : best)).size;
    rates[peer.name] = [];
  });
  const ready = contestants.filter(({ peer }) => peer.name in batchSize);
  const ofRound = Array.from({ length: rounds }, (_, round) => workload.texts(round + 1));
  await inTurns(ready, rounds, failed, async ({ peer, open }, round) => {
    const seconds = await open.bulk(ofRound[round]!, batchSize[peer.name]!);
    rates[peer.name]!.push(ofRound[round]!.length / seconds);
  });
  const first = ofRound[0]!;
  return { texts: first.length, tokens: first.reduce((sum, text) => sum + texts.tokensOf(text), 0), batchSize, rates };
}

export interface QueryResult {
  /** One query after the other. */
  readonly single: Record<string, Latency>;
  /** Sixteen clients at once; servers alone. */
  readonly concurrent: Record<string, Latency & { readonly textsPerSecond: number }>;
  /** Latencies over the queries of all rounds: of one round's, p99 would be its slowest. */
  readonly besideIngest: Record<string, BesideIngest<Latency>>;
}

export interface QueryOptions {
  readonly rounds: number;
  readonly texts: Texts;
  readonly failed: Failed;
  /** Queries of a turn. */
  readonly single: number;
  readonly concurrent: number;
  readonly steady: number;
}

export async function measureQueries(
  contestants: readonly Contestant[],
  { rounds, texts, failed, ...counts }: QueryOptions,
): Promise<QueryResult> {
  const single: Record<string, number[]> = {};
  const concurrent: Record<string, (Latency & { textsPerSecond: number })[]> = {};
  const beside: Record<string, BesideIngest<readonly number[]>[]> = {};
  await inTurns(contestants, rounds, failed, async ({ peer: { name }, open }) => {
    await open.oneByOne(take(texts.queries, 8));
    single[name] = [...(single[name] ?? []), ...(await open.oneByOne(take(texts.queries, counts.single)))];
  });
  const servers = contestants.filter(({ open }) => open.http);
  await inTurns(servers, rounds, failed, async ({ peer: { name }, open }) => {
    const result = await concurrentQueries(open.http!, take(texts.queries, counts.concurrent));
    concurrent[name] = [...(concurrent[name] ?? []), result];
  });
  await inTurns(servers, rounds, failed, async ({ peer: { name }, open }) => {
    const result = await queriesBesideIngest(open.http!, texts.queries, texts.passages, counts.steady);
    beside[name] = [...(beside[name] ?? []), result];
  });
  return {
    single: mapValues(single, latencyOf),
    concurrent: mapValues(concurrent, (all) => ({
      ...medianLatency(all),
      textsPerSecond: median(all.map((one) => one.textsPerSecond)),
    })),
    besideIngest: mapValues(beside, (all) => ({
      idle: latencyOf(all.flatMap(({ idle }) => idle)),
      busy: latencyOf(all.flatMap(({ busy }) => busy)),
      ingestAlone: median(all.map((one) => one.ingestAlone)),
      ingestBeside: median(all.map((one) => one.ingestBeside)),
    })),
  };
}

const medianLatency = (all: readonly Latency[]): Latency => ({
  p50Ms: median(all.map(({ p50Ms }) => p50Ms)),
  p99Ms: median(all.map(({ p99Ms }) => p99Ms)),
});

const mapValues = <V, W>(record: Readonly<Record<string, V>>, map: (value: V) => W): Record<string, W> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
