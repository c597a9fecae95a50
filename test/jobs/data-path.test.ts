import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { artifactPath, dataPath } from '../../src/jobs/data-path.js';

let place: string;
let dataDir: string;
beforeAll(() => {
  place = realpathSync(mkdtempSync(join(tmpdir(), 'anchorage-paths-')));
  dataDir = join(place, 'data');
  mkdirSync(join(dataDir, 'sets'), { recursive: true });
  mkdirSync(join(place, 'data-of-another'));
  writeFileSync(join(place, 'secret'), 'x');
  writeFileSync(join(dataDir, 'sets', 'one.jsonl'), '{}');
  symlinkSync(place, join(dataDir, 'way-out'));
  symlinkSync(join(dataDir, 'sets'), join(dataDir, 'way-around'));
});
afterAll(() => rmSync(place, { recursive: true }));

describe('a path of a job', () => {
  it('is found below the data directory, relative, absolute or through a link inside', () => {
    const file = join(dataDir, 'sets', 'one.jsonl');
    for (const given of ['sets/one.jsonl', file, 'way-around/one.jsonl', './sets/../sets/one.jsonl']) {
      expect(dataPath(dataDir, given, 'f')).toBe(file);
    }
    expect(artifactPath(dataDir, file)).toBe('sets/one.jsonl');
  });

  it.each([
    '..',
    '../secret',
    'sets/../../secret',
    '/etc/passwd',
    'way-out/secret',
    'way-out/not/there',
    '../data-of-another',
    'sets/\0/one',
  ])('%j is refused by its field', (given) => {
    expect(() => dataPath(dataDir, given, 'params.dataset', { mustExist: false })).toThrow(
      /^params\.dataset: .* leads out of the data directory/,
    );
  });

  it('must be there, unless it may be made later', () => {
    expect(() => dataPath(dataDir, 'sets/two.jsonl', 'f')).toThrow('f: there is no sets/two.jsonl');
    expect(dataPath(dataDir, 'sets/two.jsonl', 'f', { mustExist: false })).toBe(join(dataDir, 'sets', 'two.jsonl'));
  });
});
