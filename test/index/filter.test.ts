import Database from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { filterToSql } from '../../src/index/filter.js';

const METADATA = [
  { n: 1, lang: 'en', tags: ['a', 'b'], flag: true, nested: { deep: { x: 5 } } },
  { n: 2, lang: 'de', tags: ['b', 3], flag: false, nested: { deep: { x: 6 } } },
  { n: 3.5, lang: 'en', tags: [], nothing: null, 'odd name': 'spaced' },
  { n: '3', lang: 'français', tags: [true], flag: 1 },
  {},
];

function matches(filter: unknown): number[] {
  const db = new Database(':memory:');
  db.exec('CREATE TABLE documents (label INTEGER PRIMARY KEY, metadata BLOB)');
  for (const metadata of METADATA) {
    db.prepare('INSERT INTO documents (metadata) VALUES (jsonb(?))').run(JSON.stringify(metadata));
  }
  const { where, parameters } = filterToSql(filter);
  const labels = db
    .prepare(`SELECT label FROM documents d WHERE ${where}`)
    .pluck()
    .all(...parameters) as number[];
  db.close();
  return labels.map((label) => label - 1);
}

describe('what a filter finds', () => {
  test.each([
    ['everything, when empty', {}, [0, 1, 2, 3, 4]],
    ['a value', { lang: 'en' }, [0, 2]],
    ['several fields at once', { lang: 'en', n: 1 }, [0]],
    ['a number, but not the string of it', { n: { $eq: 3 } }, []],
    ['a float', { n: 3.5 }, [2]],
    ['true, but not 1', { flag: true }, [0]],
    ['1, but not true', { flag: 1 }, [3]],
    ['false', { flag: false }, [1]],
    ['missing and null alike', { nothing: null }, [0, 1, 2, 3, 4]],
    ['what is not equal, missing fields included', { lang: { $ne: 'en' } }, [1, 3, 4]],
    ['numbers in a range, no strings among them', { n: { $gt: 1, $lte: 3.5 } }, [1, 2]],
    ['strings in a range, no numbers among them', { n: { $gte: '0' } }, [3]],
    ['$lt', { n: { $lt: 2 } }, [0]],
    ['one of a list of mixed types', { n: { $in: [1, '3', null] } }, [0, 3, 4]],
    ['none of a list', { n: { $nin: [1, 2] } }, [2, 3, 4]],
    ['booleans of a list', { flag: { $in: [true, false] } }, [0, 1]],
    ['what exists', { flag: { $exists: true } }, [0, 1, 3]],
    ['what does not exist', { flag: { $exists: false } }, [2, 4]],
    ['a list that contains a string', { tags: { $contains: 'b' } }, [0, 1]],
    ['a list that contains a number', { tags: { $contains: 3 } }, [1]],
    ['a list that contains true, but not "a"', { tags: { $contains: true } }, [3]],
    ['a string that contains another', { lang: { $contains: 'ran' } }, [3]],
    ['nested fields', { 'nested.deep.x': { $gte: 6 } }, [1]],
    ['names with spaces', { 'odd name': 'spaced' }, [2]],
    ['$or', { $or: [{ n: 1 }, { lang: 'de' }] }, [0, 1]],
    ['$and', { $and: [{ lang: 'en' }, { tags: { $contains: 'a' } }] }, [0]],
    ['$not, which holds where the field is missing', { $not: { n: { $lt: 3 } } }, [2, 3, 4]],
    ['$not of $not', { $not: { $not: { lang: 'en' } } }, [0, 2]],
    ['values with quotes as values', { lang: `en' OR 1=1 --` }, []],
    ['as many conditions as are allowed', { $and: Array.from({ length: 256 }, () => ({ lang: 'en' })) }, [0, 2]],
    ['as many empty groups as are allowed', { $and: Array.from({ length: 256 }, () => ({})) }, [0, 1, 2, 3, 4]],
  ])('%s', (_, filter, expected) => {
    expect(matches(filter)).toEqual(expected);
  });
});

describe('what a filter may not be', () => {
  const deep = (levels: number): unknown => (levels === 0 ? { n: 1 } : { $not: deep(levels - 1) });
  test.each([
    ['an unknown operator, by name', { n: { $regex: 'x' } }, /\$regex is no operator/],
    ['an unknown operator at the top', { $nor: [] }, /\$nor is no operator/],
    ['a list', [], /filter: an object/],
    ['a string', 'n = 1', /filter: an object/],
    ['nesting without end', deep(40), /deeper than 16/],
    ['more conditions than allowed', { $or: Array.from({ length: 300 }, (_, n) => ({ n })) }, /more than 256/],
    ['more empty groups than allowed', { $and: Array.from({ length: 257 }, () => ({})) }, /more than 256/],
    ['more negated groups than allowed', { $or: Array.from({ length: 257 }, () => ({ $not: {} })) }, /more than 256/],
    ['a list longer than allowed', { n: { $in: Array.from({ length: 5000 }, (_, n) => n) } }, /1 to 4096 values/],
    ['an empty list', { n: { $in: [] } }, /filter\.n\.\$in/],
    ['an empty $or', { $or: [] }, /filter\.\$or/],
    ['a list as value', { n: [1] }, /\$in takes a list/],
    ['an object as operand', { n: { $eq: {} } }, /a string, a finite number/],
    ['a long string', { n: 'x'.repeat(10_000) }, /at most 8192 bytes/],
    ['$exists of a number', { n: { $exists: 1 } }, /true or false/],
    ['a field that would leave its quotes', { "a') OR 1=1 --": 1 }, /without quotes/],
    ['a field with a double quote', { 'a"b': 1 }, /without quotes/],
    ['an empty field', { '': 1 }, /names joined by dots/],
  ])('%s', (_, filter, message) => {
    expect(() => filterToSql(filter)).toThrow(message);
    expect(() => filterToSql(filter)).toThrow(expect.objectContaining({ code: 'VALIDATION' }));
  });
});
