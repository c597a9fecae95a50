import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchQueue, type Queued } from '../../src/model/batcher.js';
import type { Lane } from '../../src/model/embedding-types.js';

interface Text extends Queued {
  readonly order: number;
}

const BUDGET = 512;
let order = 0;
const text = (tokens: number, lane: Lane = 'bulk', group = 'g'): Text => ({ tokens, lane, group, order: order++ });
const queueOf = (texts: readonly Text[], now = 0) => {
  const queue = new BatchQueue<Text>({ batchTokensMax: BUDGET });
  for (const item of texts) queue.push(item, now);
  return queue;
};
const cost = (batch: readonly Text[]) => Math.max(...batch.map(({ tokens }) => tokens)) * batch.length;
const padding = (batch: readonly Text[]) => cost(batch) - batch.reduce((sum, { tokens }) => sum + tokens, 0);

const anyText = fc
  .record({
    tokens: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 800 })),
    lane: fc.constantFrom<Lane>('query', 'bulk'),
    group: fc.constantFrom('mean', 'ata'),
  })
  .map(({ tokens, lane, group }) => text(tokens, lane, group));
/** Pushes, and takes by 1 to 8 idle workers, at times that rise by up to 60 ms a step. */
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ push: anyText, ms: fc.nat(60) }) },
    { weight: 1, arbitrary: fc.record({ idle: fc.integer({ min: 1, max: 8 }), ms: fc.nat(60) }) },
  ),
  { maxLength: 120 },
);

describe('a batch', () => {
  it('keeps to one lane and one group, to the budget, and to little padding, and holds the oldest text', () => {
    fc.assert(
      fc.property(steps, (plan) => {
        const queue = queueOf([]);
        const waiting = new Set<Text>();
        let now = 0;
        for (const step of plan) {
          now += step.ms;
          if ('push' in step) {
            const item = { ...step.push, order: order++ };
            waiting.add(item);
            queue.push(item, now);
            continue;
          }
          const batch = queue.take(now, step.idle);
          if (waiting.size === 0) {
            expect(batch).toEqual([]);
            continue;
          }
          const [{ lane, group }] = batch as [Text];
          const oldest = [...waiting].filter((item) => item.lane === lane).sort((a, b) => a.order - b.order)[0];
          expect(batch).toContain(oldest);
          expect(batch.every((item) => item.lane === lane && item.group === group)).toBe(true);
          if (batch.length > 1) {
            expect(cost(batch)).toBeLessThanOrEqual(BUDGET);
            expect(padding(batch)).toBeLessThanOrEqual(16);
          }
          for (const item of batch) expect(waiting.delete(item)).toBe(true);
        }
        const left = { query: 0, bulk: 0 };
        for (const item of waiting) left[item.lane]++;
        expect([queue.size('query'), queue.size('bulk')]).toEqual([left.query, left.bulk]);
      }),
    );
  });

  it('is taken at last for every text, however many come after it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 800 }), fc.constantFrom<Lane>('query', 'bulk'), (tokens, lane) => {
        const queue = queueOf(Array.from({ length: 50 }, (_, i) => text(8 + i, 'bulk')));
        const patient = text(tokens, lane, 'rare');
        queue.push(patient, 0);
        let taken = false;
        // Queries and bulk texts keep coming, faster than they are taken.
        for (let now = 0; now < 10_000 && !taken; now += 20) {
          for (let i = 0; i < 4; i++) queue.push(text(5 + i * 100, i % 2 ? 'query' : 'bulk'), now);
          taken = queue.take(now, 1).includes(patient);
        }
        expect(taken).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it('takes a text that is longer than the budget by itself', () => {
    const queue = queueOf([text(700), text(700)]);
    expect(queue.take(0, 1)).toHaveLength(1);
    expect(queue.take(0, 1)).toHaveLength(1);
  });

  it('gathers texts of similar length around the oldest', () => {
    const oldest = text(20);
    const queue = queueOf([oldest, text(100), text(21), text(200), text(19), text(20), text(101)]);
    const batch = queue.take(0, 1);
    expect(batch.map(({ tokens }) => tokens).sort()).toEqual([19, 20, 20, 21]);
    expect(queue.take(0, 1).map(({ tokens }) => tokens)).toEqual([100, 101]);
  });

  it('leaves less than 1% padding in a queue of a thousand mixed texts', () => {
    const queue = queueOf(Array.from({ length: 1000 }, (_, i) => text(4 + ((i * 7919) % 250))));
    let padded = 0;
    let whole = 0;
    for (let batch = queue.take(0, 1); batch.length > 0 && queue.size('bulk') > 200; batch = queue.take(0, 1)) {
      padded += padding(batch);
      whole += cost(batch);
    }
    expect(padded / whole).toBeLessThan(0.01);
  });

  it('is shared among idle workers', () => {
    const queue = queueOf(Array.from({ length: 32 }, () => text(16)));
    expect(queue.take(0, 2)).toHaveLength(16);
    expect(queue.take(0, 1)).toHaveLength(16);
    // Too little to be worth spreading.
    expect(queueOf(Array.from({ length: 8 }, () => text(16))).take(0, 2)).toHaveLength(8);
  });
});

describe('queries', () => {
  it('go before bulk work that came earlier', () => {
    const queue = queueOf([text(10), text(10), text(10, 'query')]);
    expect(queue.take(0, 1).map(({ lane }) => lane)).toEqual(['query']);
    expect(queue.take(0, 1).map(({ lane }) => lane)).toEqual(['bulk', 'bulk']);
  });

  it('let bulk work through when it has had no batch for a while', () => {
    const queue = queueOf([text(10)]);
    const lanes: string[] = [];
    for (let now = 0; now <= 240; now += 20) {
      queue.push(text(10, 'query'), now);
      if (queue.size('bulk') === 0) queue.push(text(10), now);
      lanes.push(queue.take(now, 1)[0]!.lane);
    }
    expect(lanes.filter((lane) => lane === 'bulk')).toHaveLength(2);
    expect(lanes.indexOf('bulk')).toBe(5);
  });

  it('keep bulk batches short while they come in', () => {
    const bulk = Array.from({ length: 200 }, () => text(16));
    const queue = queueOf(bulk, 10_000);
    queue.push(text(5, 'query'), 10_000);
    expect(queue.take(10_000, 1)[0]!.lane).toBe('query');
    expect(cost(queue.take(10_001, 1))).toBeLessThanOrEqual(BUDGET / 4);
    expect(cost(queue.take(20_000, 1))).toBe(BUDGET);
  });
});

describe('a text that nobody waits for', () => {
  it('is taken out of the queue', () => {
    const gone = text(10);
    const queue = queueOf([gone, text(12)]);
    expect(queue.remove(gone)).toBe(true);
    expect(queue.remove(gone)).toBe(false);
    expect(queue.take(0, 1).map(({ tokens }) => tokens)).toEqual([12]);
    expect(queue.size('bulk')).toBe(0);
  });
});
