import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRealApp, type RealApp } from './real-app.js';

let real: RealApp;
beforeAll(async () => {
  real = await openRealApp();
});
afterAll(() => real.close());

const post = (url: string, payload: object, headers: Record<string, string> = {}) =>
  real.app.inject({ method: 'POST', url, payload, headers });
const cosine = (a: readonly number[], b: readonly number[]): number => {
  let [dot, lengthA, lengthB] = [0, 0, 0];
  for (const [i, value] of a.entries()) {
    dot += value * b[i]!;
    lengthA += value * value;
    lengthB += b[i]! * b[i]!;
  }
  return dot / Math.sqrt(lengthA * lengthB);
};
const A = 'A ship lies at anchor in the bay.';
const B = 'A boat is moored in the harbour.';
const C = 'The stock market fell sharply on Tuesday.';

describe('/embed', () => {
  it('answers one unit vector a text, in the order of the texts, closer for closer meanings', async () => {
    const response = await post('/embed', { inputs: [A, B, C] });
    expect(response.statusCode).toBe(200);
    const [a, b, c] = response.json<number[][]>();
    expect(a).toHaveLength(384);
    expect(Math.hypot(...a!)).toBeCloseTo(1, 5);
    expect(cosine(a!, b!)).toBeGreaterThan(cosine(a!, c!) + 0.2);
  });

  it('tells what it cost, in headers', async () => {
    const { headers } = await post('/embed', { inputs: [A, B] });
    expect(headers['x-model-version']).toBe('anchorage-small@6-int8');
    expect(Number(headers['x-compute-tokens'])).toBe(11 + 11);
    expect(Number(headers['x-compute-characters'])).toBe(A.length + B.length);
    expect(headers['x-truncated']).toBe('0');
    for (const name of ['x-total-time', 'x-tokenization-time', 'x-queue-time', 'x-inference-time']) {
      expect(Number(headers[name]), name).toBeGreaterThanOrEqual(0);
    }
  });

  it('gives the same vector for a text and for its token ids', async () => {
    const tokens = (await post('/tokenize', { inputs: A })).json<{ id: number }[][]>();
    const ids = tokens[0]!.map(({ id }) => id);
    const [fromText] = (await post('/embed', { inputs: A })).json<number[][]>();
    for (const inputs of [ids, [ids]]) {
      const [fromIds] = (await post('/embed', { inputs })).json<number[][]>();
      expect(cosine(fromText!, fromIds!)).toBeGreaterThan(0.9999);
    }
  });

  it('cuts to dimensions and normalizes after the cut', async () => {
    const [whole] = (await post('/embed', { inputs: A })).json<number[][]>();
    const [cut] = (await post('/embed', { inputs: A, dimensions: 64 })).json<number[][]>();
    expect(cut).toHaveLength(64);
    expect(Math.hypot(...cut!)).toBeCloseTo(1, 5);
    expect(cosine(cut!, whole!.slice(0, 64))).toBeGreaterThan(0.99999);
  });

  it('leaves the length alone when asked not to normalize', async () => {
    const [raw] = (await post('/embed', { inputs: A, normalize: false })).json<number[][]>();
    const [unit] = (await post('/embed', { inputs: A })).json<number[][]>();
    expect(Math.abs(Math.hypot(...raw!) - 1)).toBeGreaterThan(0.01);
    expect(cosine(raw!, unit!)).toBeGreaterThan(0.99999);
  });

  it('pools otherwise when asked: gamma 0 is mean pooling, gamma 1 is not', async () => {
    const pooled = async (pooling: object) => (await post('/embed', { inputs: A, pooling })).json<number[][]>()[0]!;
    const mean = await pooled({ mode: 'mean' });
    expect(cosine(await pooled({ mode: 'ata', gamma: 0 }), mean)).toBeGreaterThan(0.999999);
    expect(cosine(await pooled({ mode: 'ata', gamma: 1 }), mean)).toBeLessThan(0.9999);
    expect(cosine(await pooled({ mode: 'cls' }), mean)).toBeLessThan(0.9999);
    expect(cosine(await pooled({ mode: 'last' }), mean)).toBeLessThan(0.9999);
  });

  it('cuts long texts on the asked side and says how many', async () => {
    const long = `${A} `.repeat(200);
    const right = await post('/embed', { inputs: [long + C, B] });
    const left = await post('/embed', { inputs: [C + long, B], truncation_direction: 'left' });
    expect([right.headers['x-truncated'], left.headers['x-truncated']]).toEqual(['1', '1']);
    expect(Number(right.headers['x-compute-tokens'])).toBe(512 + 11);
    const withoutC = (await post('/embed', { inputs: long })).json<number[][]>()[0]!;
    expect(cosine(right.json<number[][]>()[0]!, withoutC)).toBeGreaterThan(0.9999);
  });

  it('gives a text the same vector alone and in company', async () => {
    const [alone] = (await post('/embed', { inputs: B })).json<number[][]>();
    const company = Array.from({ length: 60 }, (_, i) => `${C} ${A.slice(0, i)} ${i}`);
    const together = (await post('/embed', { inputs: [...company, ` ${B}`] })).json<number[][]>();
    expect(cosine(alone!, together.at(-1)!)).toBeGreaterThan(0.9999);
  });

  it('gives raw little-endian float32 to who asks for it', async () => {
    const raw = await post('/embed', { inputs: [A, B] }, { accept: 'application/octet-stream' });
    expect([raw.headers['x-embedding-count'], raw.headers['x-embedding-dimensions']]).toEqual(['2', '384']);
    const bytes = raw.rawPayload;
    const floats = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    const json = (await post('/embed', { inputs: [A, B] })).json<number[][]>();
    expect(floats).toHaveLength(768);
    expect(cosine(Array.from(floats.subarray(384)), json[1]!)).toBeGreaterThan(0.999999);
  });

  it('accepts the fields of TEI that it does not know, and serves the root as TEI does', async () => {
    expect((await post('/embed', { inputs: A, some_future_field: 1 })).statusCode).toBe(200);
    expect((await post('/', { inputs: A, parameters: {} })).json<number[][]>()[0]).toHaveLength(384);
  });
});

describe('the routes beside it', () => {
  it('/embed_all gives a vector a token', async () => {
    const answer = (await post('/embed_all', { inputs: [A, 'anchor'] })).json<number[][][]>();
    expect(answer.map((matrix) => matrix.length)).toEqual([11, 3]);
    expect(answer[0]![0]).toHaveLength(384);
  });

  it('/anchors gives weights that sum to 1 and tokens that stand where they say', async () => {
    const [anchors] = (await post('/anchors', { inputs: A })).json<
      { text: string; special: boolean; start: number | null; stop: number | null; weight: number }[][]
    >();
    expect(anchors!.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1, 5);
    for (const { special, text, start, stop } of anchors!) {
      if (!special) expect(A.slice(start!, stop!)).toBe(text);
    }
    const [top] = (await post('/anchors', { inputs: A, top: 2 })).json<{ weight: number }[][]>();
    expect(top).toHaveLength(2);
    expect(top![0]!.weight).toBe(Math.max(...anchors!.map(({ weight }) => weight)));
  });

  it('/similarity gives cosines to the source sentence', async () => {
    const answer = await post('/similarity', { inputs: { source_sentence: A, sentences: [B, C, A] } });
    const [toB, toC, toA] = answer.json<number[]>();
    expect(toB).toBeGreaterThan(toC!);
    expect(toA).toBeCloseTo(1, 4);
  });

  it('/rerank orders texts, best first, and returns them when asked', async () => {
    const answer = await post('/rerank', { query: 'where is the boat', texts: [C, B], return_text: true });
    const ranks = answer.json<{ index: number; score: number; text: string }[]>();
    expect(ranks.map(({ index }) => index)).toEqual([1, 0]);
    expect(ranks[0]!.text).toBe(B);
    expect(ranks[0]!.score).toBeGreaterThan(ranks[1]!.score);
  });

  it('/tokenize and /decode undo one another', async () => {
    const [tokens] = (await post('/tokenize', { inputs: A })).json<{ id: number; special: boolean }[][]>();
    expect(tokens!.filter(({ special }) => special)).toHaveLength(2);
    const [text] = (await post('/decode', { ids: tokens!.map(({ id }) => id) })).json<string[]>();
    expect(text!.replace(/\s/g, '')).toBe(A.toLowerCase().replace(/\s/g, ''));
    const bare = (await post('/tokenize', { inputs: [A], add_special_tokens: false })).json<unknown[][]>();
    expect(bare[0]).toHaveLength(tokens!.length - 2);
  });

  it('/info names the model by TEI and by us', async () => {
    const info = (await real.app.inject('/info')).json();
    expect(info).toMatchObject({
      model_id: 'anchorage-small',
      max_input_length: 512,
      model_type: { embedding: { pooling: 'ata' } },
      pooling: { mode: 'ata', gamma: 0.711314 },
      dimensions: 384,
      batchInvariant: true,
    });
    expect(info.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  it('/health, /readyz and /livez say that it serves', async () => {
    for (const url of ['/health', '/readyz', '/livez']) expect((await real.app.inject(url)).statusCode).toBe(200);
  });
});

describe('/v1/embeddings', () => {
  it('gives floats and base64 of the same vectors, and usage', async () => {
    const floats = (await post('/v1/embeddings', { input: [A, B], model: 'text-embedding-3-small' })).json();
    const packed = (await post('/v1/embeddings', { input: [A, B], encoding_format: 'base64' })).json();
    expect(floats).toMatchObject({
      object: 'list',
      model: 'anchorage-small@6-int8',
      usage: { prompt_tokens: 22, total_tokens: 22 },
    });
    expect(floats.data.map(({ index }: { index: number }) => index)).toEqual([0, 1]);
    const bytes = Buffer.from(packed.data[1].embedding, 'base64');
    const unpacked = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    expect(cosine(Array.from(unpacked), floats.data[1].embedding)).toBeGreaterThan(0.999999);
  });

  it('answers errors in the nested shape of OpenAI', async () => {
    const response = await post('/v1/embeddings', { input: [] });
    expect(response.statusCode).toBe(400);
    expect(response.json()).toMatchObject({
      error: { type: 'invalid_request_error', param: 'input', code: 'empty_input' },
    });
    const wrongType = await post('/v1/embeddings', { input: { text: 'x' } });
    expect(wrongType.statusCode).toBe(400);
    expect(wrongType.json().error.message).toBe(
      '"input" must be a text, a list of texts, a list of token ids, or a list of lists of token ids',
    );
    expect((await real.app.inject('/v1/nothing')).json()).toMatchObject({ error: { code: 'not_found' } });
  });

  it('/v1/models lists the model that is served', async () => {
    expect((await real.app.inject('/v1/models')).json().data[0].id).toBe('anchorage-small@6-int8');
  });
});

describe('/v2/embed', () => {
  it('gives every type that is asked, of the same vectors', async () => {
    const types = ['float', 'int8', 'uint8', 'binary', 'ubinary'];
    const payload = { texts: [A, B], input_type: 'search_query', embedding_types: types, model: 'embed-v4.0' };
    const { embeddings, texts, meta } = (await post('/v2/embed', payload)).json();
    expect(texts).toEqual([A, B]);
    expect(meta.billed_units.input_tokens).toBe(22);
    const [float, int8, uint8, binary, ubinary] = types.map((type) => embeddings[type][0] as number[]);
    expect([float, int8, uint8, binary, ubinary].map((vector) => vector!.length)).toEqual([384, 384, 384, 48, 48]);
    expect(cosine(float!, int8!)).toBeGreaterThan(0.99);
    expect(uint8).toEqual(int8!.map((value) => value + 128));
    expect(binary).toEqual(ubinary!.map((value) => value - 128));
    expect(ubinary![0]! >> 7).toBe(float![0]! > 0 ? 1 : 0);
  });

  it('refuses a type that it does not know, in the shape of Cohere', async () => {
    const response = await post('/v2/embed', { texts: [A], embedding_types: ['float64'] });
    expect(response.statusCode).toBe(400);
    expect(response.json().message).toContain('"embedding_types[0]" must be one of "float", "int8"');
  });
});
