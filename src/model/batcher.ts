/**
 * Which texts go into the next batch. Pure policy: no threads, no timers, the clock comes in as an argument.
 *
 * Always true: a batch holds texts of one lane and one group; its padded cost, longest x texts, is within the budget,
 * but for a single text that is longer than the budget by itself; the oldest text of the lane that is served is in the
 * batch, so every text's turn comes.
 *
 * Queries go before bulk work. So that bulk work does not starve, it gets a batch whenever it has had none for a while.
 */
import type { Lane } from './embedding-types.js';

export interface Queued {
  readonly lane: Lane;
  /** Tokens of the text, special tokens included. */
  readonly tokens: number;
  /** Texts of different groups (poolings, kinds of answer) never share a batch. */
  readonly group: string;
}

export interface BatchPolicy {
  /** Bound of a batch's padded cost, in tokens. */
  readonly batchTokensMax: number;
}

/** What a batch of its own would cost a text beyond its tokens: fixed work per forward pass, in tokens. */
const BATCH_OVERHEAD_TOKENS = 16;
/** Padding of up to this share of a batch's tokens is accepted where it is more than that overhead. */
const PADDING_SHARE = 1 / 32;
/** Below this many tokens a forward pass loses efficiency, so less is not spread over idle workers. */
const SPREAD_TOKENS_MIN = 128;
/** Bulk work that has waited this long without any batch gets one, however many queries wait. */
const BULK_PATIENCE_MS = 100;
/**
 * While queries come in, bulk batches are kept short, because a query has to wait for one of them to end. One thread of a
 * Zen 4 core takes 53 us a token of dynamic int8 in 8 x 16 and 58 in 1 x 128, against 50 and 57 in batches of 512 tokens.
 */
const BULK_TOKENS_BESIDE_QUERIES = 128;
const QUERIES_REMEMBERED_MS = 5000;

export class BatchQueue<T extends Queued> {
  readonly #policy: BatchPolicy;
  readonly #lanes = { query: new LaneQueue<T>(), bulk: new LaneQueue<T>() };
  #bulkServedAt = Number.NEGATIVE_INFINITY;
  #queryAt = Number.NEGATIVE_INFINITY;

  constructor(policy: BatchPolicy) {
    this.#policy = policy;
  }

  size(lane: Lane): number {
    return this.#lanes[lane].size;
  }

  push(item: T, nowMs: number): void {
    if (item.lane === 'query') this.#queryAt = nowMs;
    else if (this.#lanes.bulk.size === 0) this.#bulkServedAt = nowMs;
    this.#lanes[item.lane].add(item);
  }

  /** Takes a text out that nobody waits for any more; false where it is not here. */
  remove(item: T): boolean {
    return this.#lanes[item.lane].delete(item);
  }

  /** The best batch now for one of `idleWorkers` workers; empty where nothing waits. */
  take(nowMs: number, idleWorkers: number): T[] {
    const lane = this.#nextLane(nowMs);
    const queue = this.#lanes[lane];
    if (queue.size === 0) return [];
    if (lane === 'bulk') this.#bulkServedAt = nowMs;
    return queue.take(this.#budget(lane, nowMs, idleWorkers));
  }

  /** The best batch of queries now, for a worker that does nothing else; empty where none waits. */
  takeQueries(nowMs: number): T[] {
    return this.#lanes.query.take(this.#budget('query', nowMs, 1));
  }

  #nextLane(nowMs: number): Lane {
    const { query, bulk } = this.#lanes;
    if (query.size === 0) return 'bulk';
    return bulk.size > 0 && nowMs - this.#bulkServedAt >= BULK_PATIENCE_MS ? 'bulk' : 'query';
  }

  /** Idle workers share what waits, so that a request does not sit in one batch while a worker has nothing to do. */
  #budget(lane: Lane, nowMs: number, idleWorkers: number): number {
    const besideQueries = lane === 'bulk' && nowMs - this.#queryAt < QUERIES_REMEMBERED_MS;
    const most = besideQueries
      ? Math.min(this.#policy.batchTokensMax, BULK_TOKENS_BESIDE_QUERIES)
      : this.#policy.batchTokensMax;
    const share = Math.ceil(this.#lanes[lane].tokens / idleWorkers);
    return Math.min(most, Math.max(share, SPREAD_TOKENS_MIN));
  }
}

/** One lane: its texts by age, and by group and length. */
class LaneQueue<T extends Queued> {
  /** In order of arrival. */
  readonly #items = new Set<T>();
  readonly #groups = new Map<string, Map<number, Set<T>>>();
  /** Sum of the tokens that wait. */
  tokens = 0;

  get size(): number {
    return this.#items.size;
  }

  add(item: T): void {
    this.#items.add(item);
    this.tokens += item.tokens;
    const lengths = this.#groups.get(item.group) ?? new Map<number, Set<T>>();
    this.#groups.set(item.group, lengths);
    const texts = lengths.get(item.tokens) ?? new Set<T>();
    lengths.set(item.tokens, texts.add(item));
  }

  delete(item: T): boolean {
    if (!this.#items.delete(item)) return false;
    this.tokens -= item.tokens;
    const lengths = this.#groups.get(item.group)!;
    const texts = lengths.get(item.tokens)!;
    texts.delete(item);
    if (texts.size === 0) lengths.delete(item.tokens);
    if (lengths.size === 0) this.#groups.delete(item.group);
    return true;
  }

  take(budget: number): T[] {
    const [oldest] = this.#items;
    if (!oldest) return [];
    const batch = similarTexts(oldest, this.#groups.get(oldest.group)!, budget);
    for (const item of batch) this.delete(item);
    return batch;
  }
}

/** The oldest text and those nearest to it in length, within the budget and with little padding. */
function similarTexts<T extends Queued>(oldest: T, lengths: ReadonlyMap<number, Set<T>>, budget: number): T[] {
  const batch = [oldest];
  let longest = oldest.tokens;
  let tokens = oldest.tokens;
  const distance = (length: number) => Math.abs(length - oldest.tokens);
  for (const length of [...lengths.keys()].sort((a, b) => distance(a) - distance(b) || a - b)) {
    for (const item of lengths.get(length)!) {
      if (item === oldest) continue;
      const cost = Math.max(longest, length) * (batch.length + 1);
      const padding = cost - tokens - length;
      if (cost > budget || padding > Math.max(BATCH_OVERHEAD_TOKENS, cost * PADDING_SHARE)) break;
      batch.push(item);
      longest = Math.max(longest, length);
      tokens += length;
    }
  }
  return batch;
}
