/**
 * The encoder of native/ beside ONNX Runtime on the same graphs, for each set of instructions that this processor has. Both
 * round to 8 bits after every layer, where a last digit tips codes over; so they agree as closely as int8 is to float32.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type { Embedder } from '../../../src/model/embedder.js';
import { readManifest } from '../../../src/model/manifest.js';
import { INSTRUCTIONS, type NativeHandle, nativeAddon } from '../../../src/model/native-addon.js';
import { type Int8Encoder, readStaticInt8 } from '../../../src/model/static-int8.js';
import { anchorTokenAwarePool, anchorWeights } from '../../../src/pooling/anchor-token-aware.js';
import { floats, golden } from '../../golden/reference.js';
import { cosine, defaultFolder, loadEmbedder } from '../real-embedder.js';

const graph = `${defaultFolder}/model.onnx`;
const tinyGraph = fileURLToPath(new URL('tiny-int8.onnx', import.meta.url));
const found = nativeAddon();
const addon = typeof found === 'string' ? undefined : found;
const best = addon?.instructions() ?? 'none';
const noNativeCode = best === 'none';
const available = best === 'none' ? [] : INSTRUCTIONS.slice(INSTRUCTIONS.indexOf(best));

interface Pass {
  readonly states: Float32Array;
  readonly received: Float32Array;
}

/** Texts one after another, [all tokens, hidden] and [all tokens]. */
function encode(handle: NativeHandle, weights: Int8Encoder, texts: readonly Int32Array[], layers: number): Pass[] {
  const rowTokens = Math.max(...texts.map(({ length }) => length));
  const states = new Float32Array(texts.length * rowTokens * weights.hidden);
  const received = new Float32Array(texts.length * rowTokens);
  const ids = Int32Array.from(texts.flatMap((text) => [...text]));
  const lengths = Int32Array.from(texts, ({ length }) => length);
  addon!.encode(handle, ids, lengths, layers, rowTokens, states, received);
  return texts.map(({ length }, i) => ({
    states: states.slice(i * rowTokens * weights.hidden, (i * rowTokens + length) * weights.hidden),
    received: received.slice(i * rowTokens, i * rowTokens + length),
  }));
}

async function runtimePass(session: InferenceSession, ids: Int32Array, layers?: number): Promise<Pass> {
  const filled = (value: (i: number) => number) =>
    new Tensor(
      'int64',
      BigInt64Array.from(ids, (_, i) => BigInt(value(i))),
      [1, ids.length],
    );
  const feeds = { input_ids: filled((i) => ids[i]!), attention_mask: filled(() => 1), token_type_ids: filled(() => 0) };
  const exits = layers === undefined ? {} : { layers: new Tensor('int64', BigInt64Array.of(BigInt(layers)), [1]) };
  const results = await session.run({ ...feeds, ...exits });
  return {
    states: results.last_hidden_state!.data as Float32Array,
    received: results.received_attention!.data as Float32Array,
  };
}

function pooled({ states, received }: Pass, gamma: number): Float32Array {
  const vector = new Float32Array(states.length / received.length);
  anchorTokenAwarePool(states, anchorWeights(received, gamma), vector);
  return vector;
}

const text = (tokens: number, from = 1000) =>
  Int32Array.from({ length: tokens }, (_, i) =>
    i === 0 ? 101 : i === tokens - 1 ? 102 : from + ((i * 7919) % 20_000),
  );
const sum = (values: Float32Array): number => values.reduce((total, value) => total + value, 0);

// Not where the processor has no such instructions, or no compiler made the code: there ONNX Runtime computes everything.
describe.skipIf(noNativeCode).each(available)('native code for %s', (instructions) => {
  const weights = readStaticInt8(readFileSync(graph))!;
  const handle = addon!.open(graph, instructions, () => weights);
  const layers = weights.layers.length;

  it('is as close to PyTorch as the bounds of int8 ask', () => {
    const cosines = golden.texts.map(({ tokenIds, embeddings }) => {
      const [pass] = encode(handle, weights, [Int32Array.from(tokenIds)], layers);
      return cosine(pooled(pass!, 0.5), floats(embeddings['ata-0.5']!));
    });
    const { minCosine, meanCosine } = golden.tolerances.int8;
    expect(Math.min(...cosines)).toBeGreaterThan(minCosine);
    expect(cosines.reduce((total, value) => total + value, 0) / cosines.length).toBeGreaterThan(meanCosine);
  });

  it('agrees with ONNX Runtime at every length around the sizes of its tiles', async () => {
    const session = await InferenceSession.create(graph);
    for (const tokens of [1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 127, 128, 129, 255, 511, 512]) {
      const ids = text(tokens);
      const [found] = encode(handle, weights, [ids], layers);
      const expected = await runtimePass(session, ids);
      expect({ tokens, cosine: cosine(found!.states, expected.states) > 0.995 }).toEqual({ tokens, cosine: true });
      expect(sum(found!.received) / (tokens * weights.heads)).toBeCloseTo(1, 3);
    }
    await session.release();
  });

  it('gives a text the very same numbers alone and among others', () => {
    const texts = [5, 40, 1, 17, 512, 33, 16, 90].map((tokens, i) => text(tokens, 1000 + 500 * i));
    const together = encode(handle, weights, texts, layers);
    for (const [i, ids] of texts.entries()) expect(encode(handle, weights, [ids], layers)[0]).toEqual(together[i]);
  });

  it.each([[1], [2], [3]])(
    'stops after %i layers of a graph with exits, heads weighing what they learned',
    async (exit) => {
      const tiny = readStaticInt8(readFileSync(tinyGraph))!;
      const tinyHandle = addon!.open(tinyGraph, instructions, () => tiny);
      const session = await InferenceSession.create(tinyGraph);
      expect(tiny.headWeights).toEqual(Float32Array.of(0.5, 1.5));
      for (const tokens of [2, 9, 16, 40, 64]) {
        const ids = text(tokens).map((id) => id % tiny.vocabulary);
        const [found] = encode(tinyHandle, tiny, [ids], exit);
        const expected = await runtimePass(session, ids, exit);
        expect(cosine(found!.states, expected.states)).toBeGreaterThan(0.99);
        expect(cosine(found!.received, expected.received)).toBeGreaterThan(0.99);
        expect(sum(found!.received) / sum(expected.received)).toBeCloseTo(1, 1);
      }
      await session.release();
    },
  );

  it('refuses what does not fit, and goes on', () => {
    const states = new Float32Array(4 * weights.hidden);
    const call = (ids: number[], lengths: number[], count = layers, rowTokens = 4, out: Float32Array = states) =>
      addon!.encode(handle, Int32Array.from(ids), Int32Array.from(lengths), count, rowTokens, out, undefined);
    expect(() => call([101, weights.vocabulary], [2])).toThrow(`there is no token ${weights.vocabulary}`);
    expect(() => call([101, -1], [2])).toThrow('there is no token -1');
    expect(() => call([101, 102], [3])).toThrow('lengths do not add up');
    expect(() => call([101, 102], [2, 0])).toThrow('a text has 0 tokens');
    expect(() => call([101, 102, 1, 2, 3], [5])).toThrow('a text has 5 tokens; 1 to 4 fit');
    expect(() => call([...text(513)], [513], layers, 513, new Float32Array(513 * 384))).toThrow('1 to 512 fit');
    expect(() => call([101, 102], [2], layers, 4, new Float32Array(4))).toThrow('hiddenStates is too small');
    expect(() => call([101, 102], [2], layers + 1)).toThrow('there are not so many layers');
    expect(() => call([101, 102], [2], 0)).toThrow('there are not so many layers');
    expect(() => addon!.encode(handle, [101] as never, Int32Array.of(1), layers, 1, states, undefined)).toThrow('ids');
    expect(() =>
      addon!.encode({} as never, Int32Array.of(101), Int32Array.of(1), layers, 1, states, undefined),
    ).toThrow();
    call([101, 102], [2]);
    expect(states.every(Number.isFinite)).toBe(true);
  });

  it('refuses weights whose sizes do not match, and keeps nothing of them', () => {
    const broken = { ...weights, wordSteps: weights.wordSteps.subarray(1) };
    expect(() => addon!.open('broken', instructions, () => broken)).toThrow('wordSteps has 30521 values, not 30522');
    expect(() => addon!.open('broken', instructions, () => ({}) as never)).toThrow();
    expect(() => addon!.open('broken', instructions, () => weights)).not.toThrow();
  });
});

describe('which graphs are read for native code', () => {
  it('those of the trainer in static int8 only', () => {
    expect(readStaticInt8(readFileSync(graph))?.layers).toHaveLength(6);
    const float32 = readFileSync(new URL('../exits/tiny-exits/1/model.onnx', import.meta.url));
    expect(readStaticInt8(float32) === undefined).toBe(true);
  });

  it.each([
    ['"\x04Gelu', '"\x04Relu'],
    ['anchorage-trainer', 'somebody-trainer!'],
  ])('none in which %j is %j', (from, to) => {
    const bytes = readFileSync(tinyGraph).toString('latin1').replace(from, to);
    expect(readStaticInt8(Buffer.from(bytes, 'latin1')) === undefined).toBe(true);
  });
});

describe('the engine of a loaded model', () => {
  const opened: Embedder[] = [];
  afterAll(() => Promise.all(opened.map((embedder) => embedder.close())));
  const load = async (options: Parameters<typeof loadEmbedder>[0]): Promise<Embedder> => {
    const embedder = await loadEmbedder({ workers: 1, cacheBytesMax: 0, ...options });
    opened.push(embedder);
    return embedder;
  };
  const texts = golden.texts.slice(0, 40).map((one) => one.text);

  it('is ONNX Runtime where asked for', async () => {
    expect((await load({ engine: 'onnxruntime' })).engine).toBe('onnxruntime');
  });

  it.skipIf(noNativeCode)('is native by itself, pads nothing, and embeds as ONNX Runtime does', async () => {
    const [native, runtime] = [await load({ engine: 'auto', workers: 2 }), opened[0]!];
    expect(native.engine).toBe(`native-${best}`);
    const [a, b] = [await native.embed(texts, { lane: 'bulk' }), await runtime.embed(texts, { lane: 'bulk' })];
    for (let i = 0; i < texts.length; i++) {
      const row = (vectors: Float32Array) => vectors.subarray(i * 384, (i + 1) * 384);
      expect(cosine(row(a.vectors), row(b.vectors))).toBeGreaterThan(0.995);
    }
  });

  it('is refused with a reason where it cannot be', async () => {
    await expect(load({ engine: 'native', threadsPerWorker: 2 })).rejects.toThrow(
      'engine native cannot be used: it has one thread',
    );
    const auto = await load({ engine: 'auto', threadsPerWorker: 2 });
    expect(auto.engine).toBe('onnxruntime');
    expect(auto.whyNotNative).toMatch(/^it has one thread/);
  });
});

describe('native code that was compiled for a machine with other libraries', () => {
  const folder = mkdtempSync(join(tmpdir(), 'anchorage-native-'));
  const broken = join(folder, 'encoder.node');
  writeFileSync(broken, 'no shared library');
  afterAll(() => {
    vi.doUnmock('../../../src/model/native-addon.js');
    rmSync(folder, { recursive: true });
  });
  const load = async (engine: 'auto' | 'native') => {
    vi.doMock('../../../src/model/native-addon.js', () => ({ nativeAddon: () => nativeAddon(broken) }));
    const { loadEncoder } = await import('../../../src/model/encoder.js');
    const manifest = await readManifest(defaultFolder);
    return loadEncoder({ folder: defaultFolder, manifest, engine, device: 'cpu', threads: 1 });
  };

  it('leaves the model to ONNX Runtime, which says why', async () => {
    const { engine, whyNotNative } = await load('auto');
    expect(engine).toBe('onnxruntime');
    expect(whyNotNative).toContain(`it cannot be loaded: ${broken}: `);
  });

  it('is refused in one line where it was asked for', async () => {
    await expect(load('native')).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/^engine native cannot be used: it cannot be loaded: .*$/),
    });
  });
});
