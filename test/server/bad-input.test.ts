import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN_TOKEN, openRealApp, type RealApp } from './real-app.js';

let real: RealApp;
beforeAll(async () => {
  real = await openRealApp('--body-bytes-max', String(12 * 1024 * 1024));
});
afterAll(() => real.close());

const post = (url: string, payload: unknown, headers: Record<string, string> = {}) =>
  real.app.inject({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/json', ...headers },
    payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
  });

describe('a bad body is refused before the model sees it', () => {
  it.each([
    ['no body', '', 400, 'EMPTY_BODY', /body/i],
    ['JSON cut half-way', '{"inputs": ["a', 400, 'INVALID_JSON', /JSON/],
    ['no JSON at all', 'inputs=a', 400, 'INVALID_JSON', /JSON/],
    ['a body that is a list', [], 422, 'VALIDATION', /the body must be object/],
    ['no inputs', {}, 422, 'VALIDATION', /"inputs" is missing/],
    ['empty inputs', { inputs: [] }, 400, 'EMPTY_INPUT', /"inputs" is empty/],
    ['an empty text', { inputs: '' }, 400, 'EMPTY_INPUT', /inputs/],
    ['an empty text among others', { inputs: ['a', ''] }, 400, 'EMPTY_INPUT', /inputs\[1\]/],
    ['only white space', { inputs: ' \n\t ' }, 400, 'EMPTY_INPUT', /inputs/],
    ['only control characters', { inputs: ['ok', '\u0000\u0007\u001b'] }, 400, 'EMPTY_INPUT', /inputs\[1\]/],
    ['an empty list of ids', { inputs: [[1, 2], []] }, 400, 'EMPTY_INPUT', /inputs\[1\]/],
    ['a number', { inputs: 5 }, 422, 'VALIDATION', /"inputs" must be a text, a list of texts/],
    ['nested too deep', { inputs: [[[1]]] }, 422, 'VALIDATION', /"inputs" must be a text, a list of texts/],
    ['texts nested in lists', { inputs: [['a', 'b']] }, 422, 'VALIDATION', /"inputs" must be a text, a list of texts/],
    ['texts mixed with ids', { inputs: ['a', 1] }, 422, 'VALIDATION', /"inputs" must be a text, a list of texts/],
    ['null among texts', { inputs: ['a', null] }, 422, 'VALIDATION', /"inputs" must be a text, a list of texts/],
    ['negative ids', { inputs: [101, -1] }, 422, 'VALIDATION', /"inputs" must be/],
    ['fractional ids', { inputs: [101, 1.5] }, 422, 'VALIDATION', /"inputs" must be/],
    ['ids out of range', { inputs: [[101, 30_522, 102]] }, 422, 'INVALID_TOKENS', /30522/],
    ['huge ids', { inputs: [1e15] }, 422, 'INVALID_TOKENS', /1000000000000000/],
    ['a lone surrogate', '{"inputs": "broken \\ud800 text"}', 422, 'VALIDATION', /surrogate/],
    [
      'an unknown pooling',
      { inputs: 'a', pooling: { mode: 'max' } },
      422,
      'VALIDATION',
      /"pooling.mode" must be one of/,
    ],
    ['a negative gamma', { inputs: 'a', pooling: { mode: 'ata', gamma: -1 } }, 422, 'VALIDATION', /"pooling.gamma"/],
    ['no dimensions', { inputs: 'a', dimensions: 0 }, 422, 'VALIDATION', /"dimensions"/],
    ['more dimensions than there are', { inputs: 'a', dimensions: 385 }, 422, 'VALIDATION', /the model has 384/],
    [
      'an unknown prompt',
      { inputs: 'a', prompt_name: 'poem' },
      422,
      'VALIDATION',
      /no prompt "poem"; it has "query", "document"/,
    ],
    [
      'a prompt named as a property of objects',
      { inputs: 'a', prompt_name: 'constructor' },
      422,
      'VALIDATION',
      /no prompt/,
    ],
    ['a prototype', '{"inputs": "a", "__proto__": {"x": 1}}', 400, 'INVALID_JSON', /not valid JSON/],
    ['a number for a flag', { inputs: 'a', normalize: 1 }, 422, 'VALIDATION', /"normalize" must be boolean/],
  ])('%s', async (_what, payload, status, code, message) => {
    const response = await post('/embed', payload);
    expect(response.json()).toMatchObject({
      code,
      error: expect.stringMatching(message),
      error_type: expect.any(String),
    });
    expect(response.statusCode).toBe(status);
  });

  it('a text of 10 MB', async () => {
    const response = await post('/embed', { inputs: 'word '.repeat(2_000_000) });
    expect(response.statusCode).toBe(413);
    expect(response.json().error).toMatch(/"inputs\[0\]" has 10000000 characters; one text may have up to 1000000/);
  });

  it('a body beyond the bound', async () => {
    const response = await post('/embed', { inputs: 'x'.repeat(12 * 1024 * 1024) });
    expect(response.statusCode).toBe(413);
    expect(response.json()).toMatchObject({
      code: 'PAYLOAD_TOO_LARGE',
      error: expect.stringMatching(/12582912 bytes/),
    });
  });

  it('3,000 texts', async () => {
    const response = await post('/embed', { inputs: Array.from({ length: 3000 }, (_, i) => `text ${i}`) });
    expect(response.statusCode).toBe(413);
    expect(response.json().error).toMatch(/3000 texts; one request takes up to 2048/);
  });

  it('a bad text far down the list of /rerank is named by its own place', async () => {
    const texts = Array.from({ length: 50 }, (_, i) => (i === 40 ? ' ' : `text ${i}`));
    const empty = await post('/rerank', { query: 'q', texts });
    expect(empty.json()).toMatchObject({ code: 'EMPTY_INPUT', error: expect.stringMatching(/texts\[40\]/) });
    texts[40] = 'word '.repeat(600);
    const long = await post('/rerank', { query: 'q', texts, truncate: false });
    expect(long.json()).toMatchObject({ code: 'TEXT_TOO_LONG', error: expect.stringMatching(/texts\[40\]/) });
  });

  it('a text that is too long where truncation is off', async () => {
    const response = await post('/embed', { inputs: ['fine', 'word '.repeat(600)], truncate: false });
    expect(response.statusCode).toBe(413);
    expect(response.json()).toMatchObject({ code: 'TEXT_TOO_LONG', error: expect.stringMatching(/602.*512/) });
  });

  it('a body of another type', async () => {
    const response = await post('/embed', 'inputs: a', { 'content-type': 'application/yaml' });
    expect(response.statusCode).toBe(415);
  });

  it('a field that our own routes do not have is named', async () => {
    const response = await post('/anchors', { inputs: 'a', topk: 3 });
    expect(response.statusCode).toBe(422);
    expect(response.json()).toMatchObject({ error: 'unknown field "topk"', field: 'topk' });
  });

  it('a route that is not there, and a method that a route does not take', async () => {
    expect((await real.app.inject('/embeds')).statusCode).toBe(404);
    expect((await real.app.inject('/embed')).json().error).toMatch(/no route GET \/embed/);
  });

  it('ids that decode cannot know', async () => {
    expect((await post('/decode', { ids: [30_522] })).json()).toMatchObject({ code: 'INVALID_TOKENS' });
    expect((await post('/decode', { ids: 'abc' })).statusCode).toBe(422);
  });

  it('leaves the server as healthy as before', async () => {
    expect((await real.app.inject('/health')).statusCode).toBe(200);
    expect((await post('/embed', { inputs: 'still here' })).statusCode).toBe(200);
  });
});

describe('tokens', () => {
  const admin = (authorization?: string) =>
    real.app.inject({ url: '/admin/models', headers: authorization === undefined ? {} : { authorization } });

  it.each([undefined, '', 'Bearer', 'Bearer ', 'Bearer wrong', `Basic ${ADMIN_TOKEN}`, `Bearer ${ADMIN_TOKEN}x`])(
    '%j does not open /admin',
    async (authorization) => {
      const response = await admin(authorization);
      expect(response.statusCode).toBe(401);
      expect(response.body).not.toContain(ADMIN_TOKEN);
    },
  );

  it('the admin token opens /admin, and lists the live model', async () => {
    const response = await admin(`Bearer ${ADMIN_TOKEN}`);
    expect(response.statusCode).toBe(200);
    expect(response.json().live).toBe('anchorage-small@6-int8');
  });

  it('activation of what is not there, or not a name, is refused', async () => {
    const activate = (path: string) =>
      post(`/admin/models/${path}/activate`, '{}', { authorization: `Bearer ${ADMIN_TOKEN}` });
    expect((await activate('no-such-model/1')).statusCode).toBe(404);
    expect((await activate('..%2f..%2fetc/1')).statusCode).toBe(422);
  });

  it('API keys guard every route but health', async () => {
    const guarded = await openRealApp('--api-keys', 'first-key,second-key');
    try {
      const get = (url: string, key?: string) =>
        guarded.app.inject({ url, headers: key === undefined ? {} : { authorization: `Bearer ${key}` } });
      for (const url of ['/health', '/livez', '/readyz']) expect((await get(url)).statusCode).toBe(200);
      for (const url of ['/info', '/metrics', '/docs', '/openapi.json', '/nothing']) {
        expect((await get(url)).statusCode, url).toBe(401);
      }
      expect((await get('/info', 'second-key')).statusCode).toBe(200);
      expect((await get('/admin/models', 'first-key')).statusCode).toBe(401);
    } finally {
      await guarded.close();
    }
  });
});

it.each(['/documents/%E0%A4', '/v1/%E0%A4'])(
  'a path whose percent-encoding is broken is refused in our shape: %s',
  async (url) => {
    const response = await real.app.inject({ method: 'GET', url });
    expect(response.statusCode).toBe(url.startsWith('/v1/') ? 400 : 422);
    expect(response.body).toMatch(/not a valid url component/);
    expect(response.body).toContain(url.startsWith('/v1/') ? '"code":"validation"' : '"code":"VALIDATION"');
  },
);
