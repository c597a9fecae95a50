import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Embedder } from '../../src/model/embedder.js';
import { TokenizationQueue } from '../../src/model/tokenization-queue.js';
import { cosine, defaultFolder, limits, loadEmbedder } from '../model/real-embedder.js';
import { crash, livingThreads } from './threads.js';

const { metrics } = limits();
const computedTexts = async () => {
  return (await metrics.embedTexts.get()).values.reduce((sum, { value }) => sum + value, 0);
};
const texts = (count: number, what: string) => Array.from({ length: count }, (_, i) => `${what} ${i}`);

describe('an embedder that loses threads', () => {
  let embedder: Embedder;
  beforeAll(async () => {
    embedder = await loadEmbedder({ metrics });
  });
  afterAll(() => embedder.close());

  it('answers every text of a request whose workers and tokenizer crashed half-way', async () => {
    const wanted = texts(300, 'crashed under load');
    const answer = embedder.embed(wanted, { lane: 'bulk' });
    // A query is answered before the bulk work is done, so the workers are in the middle of it now.
    await embedder.embed(['a query meanwhile'], { lane: 'query' });
    expect(embedder.health().queuedTexts).toBeGreaterThan(0);
    const threads = livingThreads();
    // Two for anything and the tokenizer's; the native engine has one for queries besides.
    const expected = embedder.engine === 'onnxruntime' ? 3 : 4;
    expect(threads).toHaveLength(expected);
    await Promise.all(threads.map(crash));
    const { vectors, count } = await answer;
    expect(count).toBe(300);
    const last = await embedder.embed([`${wanted[299]}`], { lane: 'query', pooling: { mode: 'ata' } });
    expect(cosine(vectors.subarray(299 * 384), last.vectors)).toBeGreaterThan(0.9999);
    // A thread counts as replaced when its successor is ready, which may be after the others have done its work.
    await vi.waitFor(async () => expect((await metrics.workerRestarts.get()).values[0]!.value).toBe(expected), {
      timeout: 10_000,
    });
    expect(embedder.health().ready).toBe(true);
  });

  it('drops what a client that hung up was waiting for', async () => {
    const before = await computedTexts();
    const client = new AbortController();
    const answer = embedder.embed(texts(2000, 'hung up'), { lane: 'bulk', signal: client.signal });
    await embedder.embed(['another query meanwhile'], { lane: 'query' });
    client.abort();
    await expect(answer).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
    expect(embedder.health().queuedTexts).toBe(0);
    await embedder.embed(['a last query'], { lane: 'query' });
    expect((await computedTexts()) - before).toBeLessThan(1500);
  });

  it('still answers the others who wait for a text that one client left', async () => {
    const client = new AbortController();
    const busy = embedder.embed(texts(200, 'in front'), { lane: 'bulk' });
    const left = embedder.embed(['shared'], { lane: 'bulk', signal: client.signal });
    const stayed = embedder.embed(['shared'], { lane: 'bulk' });
    client.abort();
    await expect(left).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
    expect((await stayed).count).toBe(1);
    await busy;
  });
});

describe('the health of an embedder', () => {
  it('is bad without an inference thread, and good again when one has taken its place', async () => {
    const others = new Set(livingThreads());
    const embedder = await loadEmbedder({ workers: 1 });
    expect(embedder.health()).toMatchObject({ ready: true, problem: undefined });
    const [inference] = livingThreads().filter((thread) => !others.has(thread));
    await crash(inference!);
    expect(embedder.health()).toMatchObject({ ready: false, problem: 'no inference thread is running' });
    await embedder.probe();
    await vi.waitFor(() => expect(embedder.health()).toMatchObject({ ready: true, problem: undefined }), {
      timeout: 10_000,
    });
    await embedder.close();
  });
});

describe('an embedder with little room', () => {
  it('turns away what passes its bound, says when to come back, and keeps room for queries', async () => {
    const embedder = await loadEmbedder({ queueTextsMax: 100, workers: 1 });
    const accepted = embedder.embed(texts(100, 'accepted'), { lane: 'bulk' });
    const refused = await embedder.embed(['one too many'], { lane: 'bulk' }).catch((error) => error);
    expect(refused).toMatchObject({ code: 'OVERLOADED' });
    expect(refused.retryAfterSeconds).toBeGreaterThanOrEqual(1);
    expect((await embedder.embed(['a query'], { lane: 'query' })).count).toBe(1);
    expect((await accepted).count).toBe(100);
    expect((await embedder.embed(['now there is room'], { lane: 'bulk' })).count).toBe(1);
    await embedder.close();
  });

  it('accepts no more than its bound of long requests that come at once, and has all room again after them', async () => {
    const embedder = await loadEmbedder({ queueTextsMax: 600, workers: 1 });
    const request = (n: number) => embedder.embed(texts(300, `long request ${n}, text`), { lane: 'bulk' });
    const answers = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => request(n)));
    expect(answers.map(({ status }) => status)).toEqual([...Array(2).fill('fulfilled'), ...Array(6).fill('rejected')]);
    for (const answer of answers.slice(2)) expect(answer).toMatchObject({ reason: { code: 'OVERLOADED' } });
    // What a request that fails did not hand in takes no room either.
    const failing = embedder.embed(['', ...texts(599, 'never handed in')], { lane: 'bulk' });
    await expect(failing).rejects.toMatchObject({ code: 'EMPTY_INPUT' });
    expect((await embedder.embed(texts(600, 'as many as fit'), { lane: 'bulk' })).count).toBe(600);
    expect(embedder.idle).toBe(true);
    await embedder.close();
  });

  it('answers what it accepted before it closes, and nothing after', async () => {
    const embedder = await loadEmbedder({ workers: 1 });
    const accepted = embedder.embed(texts(50, 'accepted before closing'), { lane: 'bulk' });
    const closed = embedder.close();
    await expect(embedder.embed(['too late'], { lane: 'query' })).rejects.toMatchObject({ code: 'UNHEALTHY' });
    expect(embedder.health().ready).toBe(false);
    expect((await accepted).count).toBe(50);
    await closed;
  });

  it('shows the tokens that it was asked for before it closes, slice after slice', async () => {
    const embedder = await loadEmbedder({ workers: 1 });
    const asked = texts(40, 'the tide turns and the boats swing at their moorings '.repeat(40));
    const tokens = embedder.tokenize(asked, { addSpecialTokens: false });
    expect(embedder.idle).toBe(false);
    const closed = embedder.close();
    expect(await tokens).toHaveLength(asked.length);
    await closed;
    expect(embedder.idle).toBe(true);
  });
});

describe('the tokenizer of a model version', () => {
  it('refuses what it is asked once it is closed, and does not wait for a thread that never comes', async () => {
    const queue = await TokenizationQueue.open({ folder: defaultFolder, metrics });
    await queue.close();
    const asked = queue.ask({ kind: 'decode', ids: [[7592]], skipSpecialTokens: true });
    await expect(asked).rejects.toMatchObject({ code: 'UNHEALTHY' });
  });
});

describe('a model that cannot be loaded', () => {
  it('is refused where a file was changed, and no thread is left running', async () => {
    const before = livingThreads().length;
    const root = await mkdtemp(join(tmpdir(), 'anchorage-tampered-'));
    const folder = join(root, 'all-minilm-l6-v2', '1-int8');
    await mkdir(join(root, 'all-minilm-l6-v2'));
    await cp(defaultFolder, folder, { recursive: true });
    const vocabulary = await readFile(join(folder, 'tokenizer.json'), 'utf8');
    await writeFile(join(folder, 'tokenizer.json'), vocabulary.replace('"hello"', '"hallo"'));
    await expect(loadEmbedder({ folder })).rejects.toMatchObject({ code: 'MODEL_INVALID' });
    expect(livingThreads()).toHaveLength(before);
    await rm(root, { recursive: true });
  });

  it('is refused on a device that is not there', async () => {
    const refused = loadEmbedder({ device: 'dml', workers: 1 });
    await expect(refused).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(refused).rejects.toThrow(/device dml/);
  });
});
