import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ADMIN_TOKEN, openRealApp, type RealApp } from './real-app.js';

let real: RealApp;
beforeAll(async () => {
  real = await openRealApp();
});
afterAll(() => real.close());

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

async function ask(method: Method, url: string, payload?: object) {
  const response = await real.app.inject({ method, url, ...(payload ? { payload } : {}) });
  return { status: response.statusCode, body: response.json() };
}

const TEXTS = [
  { id: 'harbour', text: 'The harbour is quiet tonight and the boats are moored.', metadata: { topic: 'sea', n: 1 } },
  { id: 'quantum', text: 'Quantum field theory on a curved spacetime.', metadata: { topic: 'physics', n: 2 } },
  { id: 'bread', text: 'Knead the dough, let it rise, and bake it for an hour.', metadata: { topic: 'food', n: 3 } },
];

test('texts are stored with their embeddings and found by meaning, by words, and by both', async () => {
  const stored = await ask('POST', '/documents', { collection: 'three', documents: TEXTS });
  expect(stored).toMatchObject({
    status: 200,
    body: { ids: ['harbour', 'quantum', 'bread'], upserted: 3, sequence: 1 },
  });
  const search = { collection: 'three', query: 'ships lying at anchor', k: 1 };
  const dense = await ask('POST', '/search', { ...search, mode: 'dense' });
  expect(dense.body.results).toMatchObject([{ id: 'harbour', text: TEXTS[0]!.text, metadata: { topic: 'sea' } }]);
  expect(dense.body).toMatchObject({
    modelVersion: stored.body.modelVersion,
    timingsMs: { path: 'exact', total: expect.any(Number) },
  });
  const sparse = await ask('POST', '/search', { ...search, query: 'baking dough', mode: 'sparse' });
  expect(sparse.body.results).toMatchObject([{ id: 'bread', sparseScore: expect.any(Number) }]);
  const hybrid = await ask('POST', '/search', {
    collection: 'three',
    queries: ['curved spacetime', 'moored boats'],
    k: 1,
  });
  expect(hybrid.body.results).toMatchObject([[{ id: 'quantum' }], [{ id: 'harbour' }]]);
  const filtered = await ask('POST', '/search', { ...search, filter: { topic: { $ne: 'sea' } }, k: 10 });
  expect(filtered.body.results.map(({ id }: { id: string }) => id).sort()).toEqual(['bread', 'quantum']);
});

test('documents are read, paged through, patched and deleted', async () => {
  await ask('POST', '/documents', { collection: 'life', documents: TEXTS });
  expect(await ask('GET', '/documents/bread?collection=life&include=metadata')).toEqual({
    status: 200,
    body: { id: 'bread', metadata: { topic: 'food', n: 3 } },
  });
  const first = await ask('POST', '/documents/query', { collection: 'life', limit: 2, include: [] });
  expect(first.body).toMatchObject({ documents: [{ id: 'harbour' }, { id: 'quantum' }], cursor: expect.any(String) });
  const second = await ask('POST', '/documents/query', { collection: 'life', limit: 2, cursor: first.body.cursor });
  expect(second.body).toMatchObject({ documents: [{ id: 'bread' }] });
  expect(second.body).not.toHaveProperty('cursor');
  const patched = await ask('PATCH', '/documents', {
    collection: 'life',
    filter: { n: { $lte: 2 } },
    metadata: { n: null, seen: true },
  });
  expect(patched.body).toMatchObject({ updated: 2 });
  expect((await ask('GET', '/documents/quantum?collection=life')).body.metadata).toEqual({
    topic: 'physics',
    seen: true,
  });
  expect((await ask('DELETE', '/documents', { collection: 'life', ids: ['bread', 'none'] })).body).toMatchObject({
    deleted: 1,
  });
  expect(await ask('GET', '/documents/bread?collection=life')).toMatchObject({
    status: 404,
    body: { code: 'NOT_FOUND' },
  });
});

test.each([
  ['of 512 letters', 'x'.repeat(512)],
  ['of 170 characters of three bytes', '船'.repeat(170)],
  ['with slashes and signs', '../a b?c#d%2F'],
])('a document is read by an id %s', async (_, id) => {
  await ask('POST', '/documents', { collection: 'long-ids', documents: [{ id, text: 'A ship.' }] });
  const found = await ask('GET', `/documents/${encodeURIComponent(id)}?collection=long-ids`);
  expect(found).toMatchObject({ status: 200, body: { id, text: 'A ship.' } });
});

test.each([false, true])(
  'a long text is cut into passages that know their document (situated: %s)',
  async (situated) => {
    const text = 'Boats rest at anchor in the bay. The moon is out over the water. Bread is baked before dawn.';
    const documents = [{ id: 'long', text, chunk: { maxTokens: 10, situated } }];
    const collection = `chunks-${situated}`;
    expect(await ask('POST', '/documents', { collection, documents })).toMatchObject({
      status: 200,
      body: { upserted: 1 },
    });
    const { body } = await ask('POST', '/search', { collection, query: 'bakery', mode: 'dense', k: 1 });
    const [found] = body.results;
    expect(found).toMatchObject({ id: 'long#2', parent: 'long', text: 'Bread is baked before dawn.' });
    expect(text.slice(found.start, found.stop)).toBe(found.text);
    const parents = await ask('POST', '/search', { collection, query: 'bakery', mode: 'dense', groupBy: 'parent' });
    expect(parents.body.results).toMatchObject([{ id: 'long', text, chunks: [{ id: 'long#2' }, {}, {}] }]);
  },
);

test('a result can tell which tokens its embedding hangs on', async () => {
  await ask('POST', '/documents', { collection: 'weighed', documents: TEXTS });
  const search = { collection: 'weighed', query: 'ships lying at anchor', k: 2, include: ['anchors'] };
  const { body } = await ask('POST', '/search', search);
  const [first] = body.results;
  expect(first).not.toHaveProperty('text');
  expect(first.id).toBe('harbour');
  const whole = (await ask('POST', '/anchors', { inputs: TEXTS[0]!.text, top: 10 })).body[0];
  const keyOf = ({ start, special, weight }: { start: number; special: boolean; weight: number }) =>
    `${start} ${special} ${weight.toFixed(5)}`;
  expect(first.anchors.map(keyOf)).toEqual(whole.map(keyOf));
  expect(body.timingsMs.anchors).toBeGreaterThan(0);
  const both = await ask('POST', '/search', { ...search, include: ['text', 'anchors'] });
  expect(both.body.results).toMatchObject([{ text: TEXTS[0]!.text, anchors: whole.map(() => ({})) }, {}]);
});

test('anchors are of the chunks where there are some, and absent where no text, or none to see, is stored', async () => {
  const collection = 'weighed-parts';
  const vector = Array.from({ length: 384 }, (_, i) => Math.cos(i));
  const text = 'Boats rest at anchor in the bay. The moon is out over the water.';
  const documents = [
    { id: 'long', text, chunk: { maxTokens: 10 } },
    { id: 'bare', vector },
  ];
  await ask('POST', '/documents', { collection, documents });
  // As an earlier release stored it: POST /documents refuses it.
  await real.parts.collections.get(collection).upsert([{ id: 'blank', text: ' ', vector: Float32Array.from(vector) }]);
  const include = ['anchors'];
  const search = { collection, query: 'boats', mode: 'dense', groupBy: 'parent', include };
  const { body } = await ask('POST', '/search', search);
  const found = new Map<string, { anchors?: object[]; chunks?: { anchors?: { weight: number }[] }[] }>(
    body.results.map((one: { id: string }) => [one.id, one]),
  );
  expect(found.get('long')).not.toHaveProperty('anchors');
  expect(found.get('long')!.chunks).toHaveLength(2);
  for (const { anchors } of found.get('long')!.chunks!) expect(anchors!.length).toBeGreaterThan(5);
  for (const id of ['bare', 'blank']) expect(found.get(id)).not.toHaveProperty('anchors');
});

describe('NDJSON', () => {
  const send = async (url: string, lines: string) => {
    const headers = { 'content-type': 'application/x-ndjson' };
    const response = await real.app.inject({ method: 'POST', url, headers, payload: lines });
    return {
      status: response.statusCode,
      lines: response.body
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    };
  };

  test('is stored line by line; of two lines with one id the later stays', async () => {
    const lines = [...TEXTS, { id: 'bread', text: 'A second loaf.' }].map((one) => JSON.stringify(one)).join('\n\n');
    const { status, lines: progress } = await send('/documents?collection=lines', lines);
    expect(status).toBe(200);
    expect(progress.at(-1)).toMatchObject({ done: true, upserted: 4, modelVersion: expect.any(String) });
    expect((await ask('GET', '/documents/bread?collection=lines')).body.text).toBe('A second loaf.');
    expect((await ask('GET', '/collections/lines')).body).toMatchObject({ documents: 3, vectors: 3 });
  });

  test.each([
    ['a line that is cut off', '{"id": "a", "text": "fine"}\n{"id": "b", "te', 'INVALID_JSON', /line 2 is not JSON/],
    ['an unknown field', '{"id": "a", "txt": "x"}', 'VALIDATION', /line 1: unknown field "txt"/],
    ['an empty text', '{"id": "a", "text": ""}', 'EMPTY_INPUT', /line 1\.text/],
  ])('that has %s is refused with the line', async (_, body, code, message) => {
    const { status, lines } = await send('/documents?collection=refused', body);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(lines).toMatchObject([{ code, error: expect.stringMatching(message) }]);
  });
});

describe('bad input', () => {
  beforeAll(() => ask('POST', '/documents', { documents: TEXTS }));
  const vector = Array.from({ length: 384 }, (_, i) => Math.sin(i));
  const empties = { $and: Array.from({ length: 1100 }, () => ({})) };
  const deep = { x: JSON.parse(`${'['.repeat(1100)}${']'.repeat(1100)}`) };
  test.each<[string, Method, string, object | undefined, number, RegExp]>([
    ['an unknown collection', 'POST', '/search', { collection: 'nowhere', query: 'x' }, 404, /no collection nowhere/],
    ['a collection named ../x', 'PUT', '/collections/..%2fx', {}, 422, /a name is 1 to 100/],
    ['no query', 'POST', '/search', {}, 422, /a query, a vector or queries/],
    ['k of 0', 'POST', '/search', { query: 'x', k: 0 }, 422, /k: a whole number from 1 to 1000/],
    ['k of 1e9', 'POST', '/search', { query: 'x', k: 1e9 }, 422, /k: a whole number/],
    [
      'an unknown operator',
      'POST',
      '/search',
      { query: 'x', filter: { n: { $near: 1 } } },
      422,
      /\$near is no operator/,
    ],
    ['an unknown field', 'POST', '/search', { query: 'x', top_k: 3 }, 422, /unknown field "top_k"/],
    ['an unknown mode', 'POST', '/search', { query: 'x', mode: 'fuzzy' }, 422, /"mode" must be one of/],
    [
      'a vector of other dimensions',
      'POST',
      '/search',
      { vector: [1, 2, 3] },
      422,
      /3 dimensions, where the collection has 384/,
    ],
    ['the zero vector', 'POST', '/search', { vector: vector.map(() => 0) }, 422, /zero vector/],
    [
      'a vector alone in hybrid mode',
      'POST',
      '/search',
      { vector, mode: 'hybrid' },
      422,
      /query: mode hybrid needs a text/,
    ],
    [
      '1,100 empty groups, and nothing for the other half of hybrid mode to search by,',
      'POST',
      '/search',
      { vector, mode: 'hybrid', filter: empties },
      422,
      /more than 256 conditions/,
    ],
    ['1,100 empty groups to list by', 'POST', '/documents/query', { filter: empties }, 422, /more than 256 conditions/],
    [
      '1,100 empty groups to patch by',
      'PATCH',
      '/documents',
      { filter: empties, metadata: {} },
      422,
      /more than 256 conditions/,
    ],
    ['1,100 empty groups to delete by', 'DELETE', '/documents', { filter: empties }, 422, /more than 256 conditions/],
    [
      'metadata nested 1,101 levels deep',
      'POST',
      '/documents',
      { documents: [{ text: 'a', metadata: deep }] },
      422,
      /documents\[0\]\.metadata: nested deeper than 64 levels/,
    ],
    [
      'a patch nested 1,101 levels deep',
      'PATCH',
      '/documents',
      { ids: ['bread'], metadata: deep },
      422,
      /metadata: nested deeper than 64 levels/,
    ],
    ['an id longer than any', 'GET', `/documents/${'x'.repeat(600)}`, undefined, 404, /There is no document x/],
    [
      'neither text nor vector',
      'POST',
      '/documents',
      { documents: [{ id: 'a' }] },
      422,
      /documents\[0\]: a text, a vector or both/,
    ],
    ['an empty text', 'POST', '/documents', { documents: [{ text: ' ' }] }, 400, /documents\[0\]\.text/],
    [
      'an empty text beside a vector',
      'POST',
      '/documents',
      { documents: [{ text: '\u200b', vector }] },
      400,
      /documents\[0\]\.text holds only white space or controls/,
    ],
    [
      'an id of 10 kB',
      'POST',
      '/documents',
      { documents: [{ id: 'x'.repeat(10_240), text: 'a' }] },
      422,
      /1 to 512 bytes/,
    ],
    [
      'the same id twice',
      'POST',
      '/documents',
      { documents: [TEXTS[0], TEXTS[0]] },
      422,
      /documents\[1\]\.id: the same as/,
    ],
    [
      'metadata of 1 MB',
      'POST',
      '/documents',
      { documents: [{ text: 'a', metadata: { x: 'y'.repeat(2 ** 20) } }] },
      422,
      /at most 65536/,
    ],
    [
      '3,000 documents',
      'POST',
      '/documents',
      { documents: Array.from({ length: 3000 }, () => ({ text: 'a' })) },
      413,
      /takes up to 2048/,
    ],
    ['no documents at all', 'POST', '/documents', undefined, 400, /the request has no body; send JSON or NDJSON/],
    ['a delete of everything', 'DELETE', '/documents', {}, 422, /ids, a filter or both/],
    [
      'an overlap as long as the passage',
      'POST',
      '/documents',
      { documents: [{ text: 'a', chunk: { maxTokens: 8, overlapTokens: 8 } }] },
      422,
      /overlapTokens/,
    ],
    ['an include that is nothing', 'GET', '/documents/bread?include=texts', undefined, 422, /"texts" is none of/],
    ['an index outside of the metadata', 'PUT', '/collections/x', { indexes: ['lang'] }, 422, /metadata\.lang/],
  ])('%s', async (_, method, url, payload, status, message) => {
    const { status: answered, body } = await ask(method, url, payload);
    expect(body.error).toMatch(message);
    expect(answered).toBe(status);
  });

  test.each<[Method, string, string]>([
    ['POST', '/documents', 'text/plain'],
    ['POST', '/documents', 'application/x-tar'],
    ['PUT', '/collections/x', 'application/x-ndjson'],
    ['POST', '/search', 'application/x-tar'],
  ])('%s %s of type %s', async (method, url, type) => {
    const headers = { 'content-type': type };
    const response = await real.app.inject({ method, url, headers, payload: '{}' });
    expect(response.json()).toMatchObject({ code: 'UNSUPPORTED_MEDIA_TYPE', error: expect.stringContaining(type) });
    expect(response.statusCode).toBe(415);
  });
});

test('a collection is made with its settings, described, listed and deleted', async () => {
  const settings = { quantization: 'int8', m: 8, indexes: ['metadata.topic'], targetRecall: 0.95 };
  const made = await ask('PUT', '/collections/made', settings);
  expect(made).toMatchObject({
    status: 200,
    body: { name: 'made', documents: 0, settings, model: { dimensions: 384 } },
  });
  expect(await ask('PUT', '/collections/made', { m: 9 })).toMatchObject({ status: 409, body: { code: 'CONFLICT' } });
  const { body } = await ask('GET', '/collections');
  expect(body.collections.map(({ name }: { name: string }) => name)).toContain('made');
  expect(await ask('DELETE', '/collections/made')).toMatchObject({ body: { deleted: true } });
  expect(await ask('GET', '/collections/made')).toMatchObject({ status: 404 });
});

test('snapshots need the admin token, and put back what was', async () => {
  await ask('POST', '/documents', { collection: 'kept', documents: TEXTS });
  expect((await ask('POST', '/admin/snapshots')).status).toBe(401);
  const admin = async (method: Method, url: string) => {
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
    return (await real.app.inject({ method, url, headers })).json();
  };
  const { id } = await admin('POST', '/admin/snapshots');
  await ask('DELETE', '/documents', { collection: 'kept', filter: {} });
  expect((await admin('GET', '/admin/snapshots')).snapshots[0]).toMatchObject({ id, bytes: expect.any(Number) });
  expect(await admin('POST', `/admin/snapshots/${id}/restore`)).toMatchObject({ id });
  expect((await ask('GET', '/collections/kept')).body).toMatchObject({ documents: 3 });
});

test.each([
  ['an empty object, as many clients send it, makes a snapshot', 'application/json', '{}', 200, undefined],
  ['a field is refused by name', 'application/json', '{"name": "mine"}', 422, 'VALIDATION'],
  ['a body that is no snapshot is not read', 'text/plain', 'mine', 415, 'UNSUPPORTED_MEDIA_TYPE'],
  ['lines of documents are not read', 'application/x-ndjson', '{}', 415, 'UNSUPPORTED_MEDIA_TYPE'],
])('%s', async (_, type, payload, status, code) => {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': type };
  const response = await real.app.inject({ method: 'POST', url: '/admin/snapshots', headers, payload });
  expect(response.json().code).toBe(code);
  expect(response.statusCode).toBe(status);
});

test('a snapshot is downloaded, deleted, and uploaded again', async () => {
  await ask('POST', '/documents', { collection: 'carried', documents: TEXTS });
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  const inject = (method: Method, url: string, payload?: Buffer) =>
    real.app.inject({
      method,
      url,
      headers: payload ? { ...headers, 'content-type': 'application/x-tar' } : headers,
      ...(payload ? { payload } : {}),
    });
  const { id } = (await inject('POST', '/admin/snapshots')).json();
  expect((await ask('GET', `/admin/snapshots/${id}`)).status).toBe(401);
  const download = await inject('GET', `/admin/snapshots/${id}`);
  expect(download.headers).toMatchObject({
    'content-type': 'application/x-tar',
    'content-disposition': `attachment; filename="anchorage-${id}.tar"`,
  });
  expect((await inject('DELETE', `/admin/snapshots/${id}`)).json()).toEqual({ deleted: true });
  expect((await inject('GET', `/admin/snapshots/${id}`)).statusCode).toBe(404);
  expect((await inject('POST', '/admin/snapshots', Buffer.from('no tar'))).statusCode).toBe(422);
  expect((await inject('POST', '/admin/snapshots', download.rawPayload)).json()).toMatchObject({ id });
  await ask('DELETE', '/collections/carried');
  expect((await inject('POST', `/admin/snapshots/${id}/restore`)).statusCode).toBe(200);
  expect((await ask('GET', '/collections/carried')).body).toMatchObject({ documents: 3 });
});
