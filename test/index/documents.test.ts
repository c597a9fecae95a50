import { describe, expect, test } from 'vitest';
import { checkDocuments, type DocumentInput, type Metadata, unitVector } from '../../src/index/documents.js';

const unit = Float32Array.of(1, 0, 0);

/** Metadata of so many levels, objects and lists in turn. */
function nested(levels: number): Metadata {
  let value: unknown = {};
  for (let level = levels; level > 1; level--) value = level % 2 === 0 ? { x: value } : [value];
  return { ...(value as Metadata) };
}

describe('documents that are refused', () => {
  const base: DocumentInput = { id: 'a', vector: unit };
  test.each<[string, DocumentInput[], string, RegExp]>([
    ['none', [], 'documents', /at least one/],
    ['wrong dimensions', [{ vector: Float32Array.of(1, 0) }], 'documents[0].vector', /2 dimensions, where .* has 3/],
    ['NaN', [{ vector: Float32Array.of(Number.NaN, 0, 0) }], 'documents[0].vector', /NaN/],
    ['Infinity', [{ vector: Float32Array.of(Number.POSITIVE_INFINITY, 0, 0) }], 'documents[0].vector', /Infinity/],
    ['the zero vector', [{ vector: new Float32Array(3) }], 'documents[0].vector', /zero vector/],
    ['no vector', [{ text: 'x' }], 'documents[0].vector', /vector/],
    ['an empty id', [{ id: '', vector: unit }], 'documents[0].id', /1 to 512 bytes/],
    ['an id of 10 kB', [{ id: 'x'.repeat(10_000), vector: unit }], 'documents[0].id', /1 to 512 bytes/],
    ['an id with a newline', [{ id: 'a\nb', vector: unit }], 'documents[0].id', /control characters/],
    ['an id with a lone surrogate', [{ id: '\ud800', vector: unit }], 'documents[0].id', /surrogates/],
    ['a text with NUL', [{ text: 'a\0b', vector: unit }], 'documents[0].text', /NUL/],
    [
      'metadata of 1 MB',
      [base, { vector: unit, metadata: { x: 'y'.repeat(1e6) } }],
      'documents[1].metadata',
      /at most/,
    ],
    [
      'metadata nested without end',
      [base, { vector: unit, metadata: nested(65) }],
      'documents[1].metadata',
      /nested deeper than 64 levels/,
    ],
    [
      'metadata nested deeper than any stack',
      [{ vector: unit, metadata: nested(100_000) }],
      'documents[0].metadata',
      /nested deeper than 64 levels/,
    ],
    ['the same id twice', [base, { vector: unit }, base], 'documents[2].id', /the same as documents\[0\]/],
    ['chunks without a text', [{ chunks: [{ start: 0, stop: 1, vector: unit }] }], 'documents[0].text', /chunks need/],
  ])('%s', (_, documents, field, message) => {
    const check = (): unknown => checkDocuments(documents, 3);
    expect(check).toThrow(message);
    expect(check).toThrow(expect.objectContaining({ code: 'VALIDATION', field }));
  });

  test('more than fit one request', () => {
    const documents = Array.from({ length: 10_001 }, () => ({ vector: unit }));
    expect(() => checkDocuments(documents, 3)).toThrow(expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' }));
  });
});

test('ids of any script and punctuation are taken', () => {
  const ids = ['日本語/文書?#1', '../x', 'O\'Brien "quoted"', '🙂', 'x'.repeat(512)];
  const documents = ids.map((id) => ({ id, vector: unit }));
  expect(checkDocuments(documents, 3).map(({ id }) => id)).toEqual(ids);
});

test('metadata is taken as deep as is allowed', () => {
  const [document] = checkDocuments([{ vector: unit, metadata: nested(64) }], 3);
  expect(JSON.parse(document!.metadata)).toEqual(nested(64));
});

test('a document without an id gets one of its own', () => {
  const [first, second] = checkDocuments([{ vector: unit }, { vector: unit }], 3);
  expect(first!.id).toMatch(/^[0-9a-f-]{36}$/);
  expect(second!.id).not.toBe(first!.id);
});

test('a unit vector is kept bit for bit, any other is brought to length 1', () => {
  const given = Float32Array.of(0.6, 0.8, 0);
  expect(unitVector(given, 'vector', 3)).toBe(given);
  const view = Float32Array.of(9, 0.6, 0.8, 0, 9).subarray(1, 4);
  expect(unitVector(view, 'vector', 3)).toEqual(given);
  expect(unitVector(view, 'vector', 3).buffer.byteLength).toBe(12);
  expect(unitVector(Float32Array.of(3, 4, 0), 'vector', 3)).toEqual(given);
});
