import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Embedder } from '../../src/model/embedder.js';
import type { EmbedInput, EmbedOptions } from '../../src/model/embedding-types.js';
import { cosine, limits, loadEmbedder } from './real-embedder.js';

const query: EmbedOptions = { lane: 'query' };
const { metrics } = limits();
let embedder: Embedder;
beforeAll(async () => {
  embedder = await loadEmbedder({ metrics });
});
afterAll(() => embedder.close());

const vector = async (input: EmbedInput, options: Partial<EmbedOptions> = {}) => {
  return (await embedder.embed([input], { ...query, ...options })).vectors;
};
const length = (values: Float32Array) => Math.hypot(...values);
const counter = async (name: keyof typeof metrics) => {
  const metric = metrics[name] as unknown as { get(): Promise<{ values: { value: number }[] }> };
  return (await metric.get()).values.reduce((sum, { value }) => sum + value, 0);
};

describe('embed', () => {
  it('gives one unit vector an input, in order, with the counts of its tokens and characters', async () => {
    const texts = [
      'A dog runs.',
      'a much longer sentence about the weather in the north of Norway',
      'A dog is running.',
    ];
    const result = await embedder.embed(texts, { lane: 'bulk' });
    expect([result.count, result.dimensions, result.vectors.length]).toEqual([3, 384, 3 * 384]);
    expect([...result.tokenCounts]).toEqual([6, 14, 7]);
    expect(result.tokens).toBe(27);
    expect(result.characters).toBe(texts.join('').length);
    const [dog, weather, running] = texts.map((_, i) => result.vectors.subarray(i * 384, (i + 1) * 384));
    expect(length(dog!)).toBeCloseTo(1, 6);
    expect(cosine(dog!, running!)).toBeGreaterThan(0.8);
    expect(cosine(dog!, weather!)).toBeLessThan(0.3);
    expect(result.timings.inferenceMs).toBeGreaterThan(0);
  });

  it('cuts to fewer dimensions before it normalizes, and can leave normalization out', async () => {
    const whole = await vector('Matryoshka', { normalize: false });
    const cut = await vector('Matryoshka', { dimensions: 64 });
    expect(cut).toHaveLength(64);
    expect(length(cut)).toBeCloseTo(1, 6);
    expect(length(whole)).not.toBeCloseTo(1, 2);
    expect(cosine(cut, whole.subarray(0, 64))).toBeCloseTo(1, 6);
  });

  it('pools as asked: gamma 0 is the mean, and modes differ', async () => {
    const text = 'Anchors are the tokens that the others look at.';
    const [mean, gamma0, gamma1, cls] = await Promise.all([
      vector(text, { pooling: { mode: 'mean' } }),
      vector(text, { pooling: { mode: 'ata', gamma: 0 } }),
      vector(text, { pooling: { mode: 'ata', gamma: 1 } }),
      vector(text, { pooling: { mode: 'cls' } }),
    ]);
    expect(cosine(mean!, gamma0!)).toBeGreaterThan(0.99999);
    expect(cosine(mean!, gamma1!)).toBeLessThan(0.9999);
    expect(cosine(mean!, cls!)).toBeLessThan(0.99);
  });

  it('takes token ids for what they are', async () => {
    expect(cosine(await vector([101, 7592, 2088, 102]), await vector('hello world'))).toBeGreaterThan(0.9999);
  });

  it('puts the prompt before every text', async () => {
    const [prompted, written] = await Promise.all([vector('dogs', { prompt: 'query: ' }), vector('query: dogs')]);
    expect(cosine(prompted!, written!)).toBeCloseTo(1, 6);
  });

  it('cuts long texts on the asked side and says so', async () => {
    const text = `begin ${'filler '.repeat(2000)}end`;
    const result = await embedder.embed([text, 'short'], query);
    expect([...result.tokenCounts]).toEqual([512, 3]);
    expect(result.truncated).toBe(1);
    const left = await vector(text, { truncationDirection: 'left' });
    expect(cosine(left, await vector(`${'filler '.repeat(509)}end`))).toBeGreaterThan(0.999);
  });

  it('answers a text from the cache, whatever the dimensions and normalization', async () => {
    await vector('seen before');
    const [hits, tokens] = [await counter('cacheHits'), await counter('embedTokens')];
    const again = await embedder.embed(['seen before'], { ...query, dimensions: 8, normalize: false });
    expect([...again.tokenCounts]).toEqual([4]);
    expect(await counter('cacheHits')).toBe(hits + 1);
    expect(await counter('embedTokens')).toBe(tokens);
  });

  it('computes a text once that several requests want at the same time', async () => {
    const before = await counter('embedTexts');
    const results = await Promise.all(Array.from({ length: 10 }, () => vector('wanted by many at once')));
    expect(await counter('embedTexts')).toBe(before + 1);
    for (const result of results) expect(result).toEqual(results[0]);
  });

  it('splits a request of thousands of texts by itself', async () => {
    const texts = Array.from({ length: 2048 }, (_, i) => `text number ${i}`);
    const { vectors, count } = await embedder.embed(texts, { lane: 'bulk' });
    expect(count).toBe(2048);
    const alone = await vector('text number 2047', { prompt: '' });
    expect(cosine(vectors.subarray(2047 * 384), alone)).toBeGreaterThan(0.9999);
  });
});

describe('what embed refuses', () => {
  it.each<[string, readonly EmbedInput[], Partial<EmbedOptions>, string, string]>([
    ['no inputs', [], {}, 'EMPTY_INPUT', 'inputs'],
    ['an empty text', ['fine', ''], {}, 'EMPTY_INPUT', 'inputs[1]'],
    ['text that the tokenizer drops whole', ['\u0301\u0301'], {}, 'EMPTY_INPUT', 'inputs[0]'],
    ['a field by the name that the route uses', [' '], { field: 'input' }, 'EMPTY_INPUT', 'input[0]'],
    ['half a surrogate pair', ['\ud800'], {}, 'VALIDATION', 'inputs[0]'],
    ['an id beyond the vocabulary', [[101, 30522]], {}, 'INVALID_TOKENS', 'inputs[0]'],
    [
      'a text that is too long and must not be cut',
      ['a '.repeat(600)],
      { truncate: false },
      'TEXT_TOO_LONG',
      'inputs[0]',
    ],
    ['token ids that are too many', [Array(513).fill(7)], { truncate: false }, 'TEXT_TOO_LONG', 'inputs[0]'],
    ['more dimensions than there are', ['x'], { dimensions: 385 }, 'VALIDATION', 'dimensions'],
    ['a pooling that the graph does not do', ['x'], { pooling: { mode: 'graph' } }, 'VALIDATION', 'pooling.mode'],
    ['a gamma for another mode', ['x'], { pooling: { mode: 'mean', gamma: 1 } }, 'VALIDATION', 'pooling.gamma'],
    ['a gamma out of bounds', ['x'], { pooling: { mode: 'ata', gamma: 17 } }, 'VALIDATION', 'pooling.gamma'],
  ])('%s', async (_name, inputs, options, code, field) => {
    await expect(embedder.embed(inputs, { ...query, ...options })).rejects.toMatchObject({ code, field });
  });

  it('names the number of tokens and the bound', async () => {
    const refusal = embedder.embed(['a '.repeat(600)], { ...query, truncate: false });
    await expect(refusal).rejects.toThrow(/inputs\[0\] has 602 tokens where the model takes 512/);
  });
});

describe('embedTokens', () => {
  it('gives a unit vector a token, special tokens included', async () => {
    const { tokenVectors, dimensions } = await embedder.embedTokens(['hello world', 'hi'], {
      ...query,
      dimensions: 16,
    });
    expect(dimensions).toBe(16);
    expect(tokenVectors.map((vectors) => vectors.length / 16)).toEqual([4, 3]);
    expect(length(tokenVectors[0]!.subarray(16, 32))).toBeCloseTo(1, 6);
  });
});

describe('anchors', () => {
  it('weigh the tokens of the embedding where they stand in the text', async () => {
    const text = 'Crème brûlée, please.';
    const { anchors, tokenCounts } = await embedder.anchors([text], { ...query, prompt: 'query: ' });
    const [tokens] = anchors;
    expect(tokens).toHaveLength(tokenCounts[0]!);
    expect(tokens!.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1, 5);
    expect(tokens!.map((token) => token.text)).toEqual([
      '[CLS]',
      'query',
      ':',
      'Cr',
      'ème',
      'br',
      'ûlé',
      'e',
      ',',
      'please',
      '.',
      '[SEP]',
    ]);
    const placed = tokens!.filter(({ start }) => start !== null);
    for (const token of placed) expect(text.slice(token.start!, token.stop!)).toBe(token.text);
    expect(placed).toHaveLength(8);
    expect(tokens!.filter(({ special }) => special).map(({ text }) => text)).toEqual(['[CLS]', '[SEP]']);
  });

  it('add up to the embedding', async () => {
    const text = 'The weights are those of the pooling.';
    const [{ anchors }, { tokenVectors }, pooled] = await Promise.all([
      embedder.anchors([text], query),
      embedder.embedTokens([text], { ...query, normalize: false }),
      vector(text),
    ]);
    const sum = new Float32Array(384);
    for (const [t, { weight }] of anchors[0]!.entries()) {
      for (let d = 0; d < 384; d++) sum[d]! += weight * tokenVectors[0]![t * 384 + d]!;
    }
    expect(cosine(sum, pooled)).toBeGreaterThan(0.9999);
  });

  it('spell token ids', async () => {
    const { anchors } = await embedder.anchors([[101, 7592, 102]], query);
    expect(anchors[0]!.map(({ text }) => text)).toEqual(['[CLS]', 'hello', '[SEP]']);
  });
});

describe('tokenize and decode', () => {
  it('round-trip', async () => {
    const [tokens] = await embedder.tokenize(['hello there'], { addSpecialTokens: true });
    expect(tokens!.map(({ text }) => text)).toEqual(['[CLS]', 'hello', 'there', '[SEP]']);
    const ids = tokens!.map(({ id }) => id);
    expect(await embedder.decode([ids, []], { skipSpecialTokens: true })).toEqual(['hello there', '']);
  });

  it('refuse what they cannot show', async () => {
    const refused = embedder.tokenize(['ok', 'x'.repeat(1_000_001)], { addSpecialTokens: true });
    await expect(refused).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE', field: 'inputs[1]' });
    await expect(embedder.decode([[1], [-1]], { skipSpecialTokens: true })).rejects.toThrow(/ids\[1\]\[0\]/);
  });
});

describe('an embedder', () => {
  it('is ready, and a probe reaches the model however full the cache is', async () => {
    const before = await counter('embedTexts');
    await embedder.probe();
    await embedder.probe();
    expect(await counter('embedTexts')).toBe(before + 2);
    expect(embedder.health()).toMatchObject({ ready: true, problem: undefined, queuedTexts: 0 });
  });

  it('watches its own work', async () => {
    const shown = await metrics.registry.metrics();
    for (const stage of ['tokenize', 'queue', 'inference', 'pool']) {
      expect(shown).toMatch(new RegExp(`stage_duration_seconds_count{stage="${stage}"} [1-9]`));
    }
    expect(shown).toMatch(/anchorage_anchor_weight_entropy_count [1-9]/);
    expect(shown).toMatch(/anchorage_queue_depth{lane="bulk"} 0/);
    expect(await counter('cacheBytes')).toBeGreaterThan(1000);
  });
});
