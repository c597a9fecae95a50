import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/metrics.js';
import { cacheKey, EmbeddingCache } from '../../src/model/embedding-cache.js';
import type { LengthPolicy } from '../../src/model/input.js';
import type { Work } from '../../src/model/worker-messages.js';

const gauge = () => createMetrics().cacheBytes;
const embedding = (first: number, length = 4) => {
  return { vector: new Float32Array(length).fill(first), tokens: 7, truncated: false };
};
const bytesOf = (length: number) => {
  const cache = new EmbeddingCache(10_000_000, gauge());
  cache.set('x', embedding(1, length));
  return cache.bytes;
};

describe('the embedding cache', () => {
  it('never holds more than its bytes, counts them truly, and forgets the least recently used first', () => {
    const room = 5;
    const operations = fc.array(fc.record({ key: fc.constantFrom(...'abcdefgh'), set: fc.boolean() }));
    fc.assert(
      fc.property(operations, (list) => {
        const cache = new EmbeddingCache(room * bytesOf(4), gauge());
        // What it should hold, least recently used first.
        let recent: string[] = [];
        for (const { key, set } of list) {
          if (set) {
            cache.set(key, embedding(key.charCodeAt(0)));
            recent = [...recent.filter((other) => other !== key), key].slice(-room);
          } else {
            const found = cache.get(key);
            expect(found?.vector[0]).toBe(recent.includes(key) ? key.charCodeAt(0) : undefined);
            if (found) recent = [...recent.filter((other) => other !== key), key];
          }
          expect(cache.bytes).toBe(recent.length * bytesOf(4));
        }
      }),
    );
  });

  it('counts the vector and what an entry takes beside it', () => {
    expect(bytesOf(384)).toBeGreaterThan(384 * 4);
    expect(bytesOf(384) - bytesOf(0)).toBe(384 * 4);
  });

  it('keeps a copy, so that a batch is not held by one of its vectors', () => {
    const batch = new Float32Array(1000);
    const cache = new EmbeddingCache(1_000_000, gauge());
    cache.set('x', { vector: batch.subarray(0, 4), tokens: 1, truncated: false });
    expect(cache.get('x')!.vector.buffer.byteLength).toBe(16);
  });

  it('holds nothing at a size of 0, and reports its bytes', async () => {
    const bytes = gauge();
    const cache = new EmbeddingCache(0, bytes);
    cache.set('x', embedding(1));
    expect(cache.get('x')).toBeUndefined();
    const larger = new EmbeddingCache(1_000_000, bytes);
    larger.set('x', embedding(1));
    expect((await bytes.get()).values[0]!.value).toBe(larger.bytes);
    larger.clear();
    expect((await bytes.get()).values[0]!.value).toBe(0);
  });
});

describe('the key of an entry', () => {
  const work = (mode: 'ata' | 'mean', gamma: number): Work => ({ kind: 'vectors', pooling: { mode, gamma } });
  const policy = (truncate: boolean, direction: 'left' | 'right'): LengthPolicy => ({
    maxTokens: 512,
    truncate,
    direction,
  });

  it('differs with whatever moves the vector', () => {
    const keys = [
      cacheKey('text', work('ata', 0.5), policy(true, 'right')),
      cacheKey('text ', work('ata', 0.5), policy(true, 'right')),
      cacheKey('text', work('ata', 1), policy(true, 'right')),
      cacheKey('text', work('mean', 0), policy(true, 'right')),
      cacheKey('text', work('ata', 0.5), policy(true, 'left')),
      cacheKey('text', work('ata', 0.5), policy(false, 'right')),
      cacheKey(Int32Array.from(Buffer.from('text')), work('ata', 0.5), policy(true, 'right')),
    ];
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('is the same for the same text', () => {
    const key = () => cacheKey('text', work('ata', 0.5), policy(true, 'right'));
    expect(key()).toBe(key());
  });
});
