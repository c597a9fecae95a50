import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/metrics.js';
import { EmbedTask } from '../../src/model/embed-task.js';
import { readManifest } from '../../src/model/manifest.js';
import { nativeAddon } from '../../src/model/native-addon.js';
import { WorkerPool } from '../../src/model/worker-pool.js';
import { defaultFolder } from '../model/real-embedder.js';
import { crash, crashNewThreads, livingThreads } from './threads.js';

const addon = nativeAddon();
const noNativeCode = typeof addon === 'string' || addon.instructions() === 'none';
const metrics = createMetrics();
let pool: WorkerPool;
beforeAll(async () => {
  const data = {
    folder: defaultFolder,
    manifest: await readManifest(defaultFolder),
    engine: 'onnxruntime',
    device: 'cpu',
    threads: 1,
  } as const;
  pool = await WorkerPool.open({ workers: 1, batchTokensMax: 4096, data, metrics });
});
afterAll(() => pool.close());

const policy = { maxTokens: 512, truncate: true, direction: 'right' } as const;
/** Beyond the model's table of embeddings: ONNX Runtime refuses the whole batch that it is in. */
const POISON = 1_000_000;

const computed = (...ids: number[]): Promise<number | string> => computedBy(pool, { lane: 'bulk', ids });

/** Hands a text straight to a pool, behind every check; resolves to its vector's length or its error's code. */
function computedBy(
  pool: WorkerPool,
  { lane, ids }: { lane: 'query' | 'bulk'; ids: readonly number[] },
): Promise<number | string> {
  return new Promise((resolve) => {
    const task = new EmbedTask({
      work: { kind: 'vectors', pooling: { mode: 'mean', gamma: 0 } },
      lane,
      policy,
      ids: Int32Array.from(ids),
      onSettled: () => undefined,
    });
    task.join({
      done: (_task, values) => resolve(values.length),
      failed: (failure) => resolve((failure('inputs[0]') as Error & { code: string }).code),
    });
    pool.push(task);
  });
}

const restarts = async () => (await metrics.workerRestarts.get()).values[0]!.value;

describe('the worker pool', () => {
  it('lets a text that breaks its batch of 64 fail alone', async () => {
    const ids = Array.from({ length: 64 }, (_, i) => [101, i === 41 ? POISON : 2000 + i, 102]);
    const results = await Promise.all(ids.map((text) => computed(...text)));
    expect(results.filter((result) => result === 384)).toHaveLength(63);
    expect(results[41]).toBe('INFERENCE_FAILED');
    expect(await restarts()).toBe(0);
    expect(pool.problem).toBeUndefined();
  });

  it('runs the batch of a worker that crashed once more, on the thread that replaces it', async () => {
    const [thread] = livingThreads();
    const results = Array.from({ length: 20 }, (_, i) => computed(101, 3000 + i, 102));
    const gone = crash(thread!);
    expect(await Promise.all(results)).toEqual(Array(20).fill(384));
    await gone;
    expect(await restarts()).toBe(1);
    expect(livingThreads()).toHaveLength(1);
  });

  it('gives a text up when every worker that gets it dies, and serves the next', async () => {
    crashNewThreads(true);
    const doomed = computed(101, 4000, 102);
    await crash(livingThreads()[0]!);
    expect(await doomed).toBe('INFERENCE_FAILED');
    crashNewThreads(false);
    expect(await computed(101, 4001, 102)).toBe(384);
  });
});

// Where ONNX Runtime computes, every thread would have weights of its own, and there is no thread for queries alone.
describe.skipIf(noNativeCode)('the worker pool of the native encoder', () => {
  let native: WorkerPool;
  beforeAll(async () => {
    const manifest = await readManifest(defaultFolder);
    const data = { folder: defaultFolder, manifest, engine: 'native', device: 'cpu', threads: 1 } as const;
    native = await WorkerPool.open({ workers: 1, batchTokensMax: 4096, data, metrics });
  });
  afterAll(() => native.close());
  const long = () => Array.from({ length: 512 }, (_, i) => (i === 0 ? 101 : i === 511 ? 102 : 2000 + i));
  const texts = async (lane: 'query' | 'bulk', ...all: number[][]) =>
    Promise.all(all.map((ids) => computedBy(native, { lane, ids })));

  it('answers a query while the batch that came before it is computed', async () => {
    const order: string[] = [];
    const bulk = texts('bulk', ...Array.from({ length: 8 }, long)).then(() => order.push('bulk'));
    await new Promise((resolve) => setTimeout(resolve, 5));
    const query = texts('query', [101, 2000, 102]).then(() => order.push('query'));
    await Promise.all([bulk, query]);
    expect(order).toEqual(['query', 'bulk']);
  });

  it('answers queries when the thread for them has died, and bulk work never goes to that thread', async () => {
    const [general, forQueries] = livingThreads().slice(-2);
    const gone = crash(forQueries!);
    expect(await texts('query', [101, 2001, 102], [101, 2002, 102])).toEqual([384, 384]);
    await gone;
    const both = crash(general!);
    expect(await texts('bulk', [101, 2003, 102])).toEqual([384]);
    await both;
  });

  it('lets a text that breaks its batch fail alone', async () => {
    const results = await texts('bulk', [101, 2000, 102], [101, POISON, 102], [101, 2001, 102]);
    expect(results).toEqual([384, 'INFERENCE_FAILED', 384]);
  });
});
