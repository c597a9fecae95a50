/**
 * The rules of the house that no compiler knows, held by reading the tracked files: which folder may import which, where
 * the environment may be read, how long a file may be, and what must never be committed.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Generated from a schema by its own tool; its head says how. */
const GENERATED = /(^|\/)onnx_pb\.ts$/;
const SOURCE = /\.(ts|mjs|py|sh|cc|h)$/;
const BINARY = /\.(onnx|onnx_data|gz|png|bin|npy|npz|safetensors)$/;
const LINES_MAX = 400;
const LINES_USUAL = 250;
const USUAL_SHARE = 0.9;

const tracked = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
  .split('\0')
  .filter((path) => path !== '' && existsSync(root + path));
const sources = tracked.filter((path) => SOURCE.test(path) && !GENERATED.test(path));
const inSrc = sources.filter((path) => path.startsWith('src/'));
const read = (path: string): string => readFileSync(root + path, 'utf8');
const linesOf = (path: string): string[] => read(path).split('\n');

/** `path:line: text` of every line of the files that matches; a failing test shows the places, not a count. */
function places(paths: readonly string[], pattern: RegExp): string[] {
  return paths.flatMap((path) =>
    linesOf(path).flatMap((line, at) =>
      pattern.test(line) ? [`${path}:${at + 1}: ${line.trim().slice(0, 120)}`] : [],
    ),
  );
}

/** The first name under src/: the room a module stands in. `src/model/manifest.ts` -> model, `src/errors.ts` -> errors. */
const roomOf = (path: string): string => path.split('/')[1]!.replace(/\.ts$/, '');

/** Rooms by what they may import besides themselves. A room that is not here is new: decide where it stands. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  pooling: [],
  blank: [],
  errors: [],
  metrics: [],
  version: [],
  log: [],
  trace: [],
  'worker-url': [],
  config: ['errors'],
  index: ['blank', 'errors', 'metrics', 'worker-url'],
  model: ['pooling', 'blank', 'errors', 'metrics', 'trace', 'worker-url'],
  jobs: ['model', 'index', 'blank', 'config', 'errors', 'metrics', 'worker-url'],
  server: ['jobs', 'model', 'index', 'pooling', 'blank', 'config', 'errors', 'metrics', 'trace', 'version'],
  'model-cli': ['model', 'config', 'errors', 'version'],
  main: ['server', 'jobs', 'model', 'index', 'config', 'errors', 'log', 'metrics', 'trace', 'version'],
};

interface Import {
  readonly from: string;
  readonly specifier: string;
}

function importsOf(path: string): Import[] {
  const statement = /(?:\bfrom|\bimport|\bnew URL\()\s*\(?\s*'([^']+)'/g;
  return [...read(path).matchAll(statement)].map((match) => ({ from: path, specifier: match[1]! }));
}

describe('imports point down', () => {
  const imports = inSrc.flatMap(importsOf);
  const internal = imports
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map((one) => ({ ...one, target: posix.join(dirname(one.from), one.specifier).replace(/\.js$/, '.ts') }))
    .filter(({ target }) => target.startsWith('src/'));

  it('every room of src is one that the rules know', () => {
    expect([...new Set(inSrc.map(roomOf))].filter((room) => !(room in MAY_IMPORT))).toEqual([]);
  });

  it('a room imports itself and the rooms below it', () => {
    expect(internal.length).toBeGreaterThan(20);
    const upward = internal.filter(({ from, target }) => {
      const [room, other] = [roomOf(from), roomOf(target)];
      return room !== other && !MAY_IMPORT[room]?.includes(other);
    });
    expect(upward.map(({ from, target }) => `${from} imports ${target}`)).toEqual([]);
  });

  it('pooling imports nothing from outside itself, not even a package', () => {
    const foreign = imports.filter(
      ({ from, specifier }) => from.startsWith('src/pooling/') && !specifier.startsWith('./'),
    );
    expect(foreign).toEqual([]);
  });

  it('no source reaches out of src, but for package.json and what is compiled from native', () => {
    const outside = imports.filter(
      ({ from, specifier }) =>
        specifier.startsWith('.') && !/^(src|native\/build)\//.test(posix.join(dirname(from), specifier)),
    );
    expect(outside.map(({ from, specifier }) => `${from} imports ${specifier}`)).toEqual([]);
  });
});

describe('every file is one thing, under the name of that thing', () => {
  it('there is no barrel: a file that only hands on what others export', () => {
    const barrels = inSrc.filter((path) => {
      const code = read(path)
        .replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
        .replace(/\b(?:import|export)\s[^;]*?\sfrom\s*'[^']+';/g, '');
      return code.trim() === '';
    });
    expect(barrels).toEqual([]);
  });

  it('no file or class is called after nothing', () => {
    const vague = /(^|[/._-])(utils?|helpers?|common|misc|manager|service)\.(ts|mjs|py)$|\/index\.(ts|mjs)$/i;
    expect(sources.filter((path) => vague.test(path))).toEqual([]);
    expect(places(inSrc, /\b(class|interface)\s+\w+(Manager|Service|Helper|Util)\b/)).toEqual([]);
  });

  it(`no source is longer than ${LINES_MAX} lines, and most are within ${LINES_USUAL}`, () => {
    const lengths = sources.map((path) => ({ path, lines: linesOf(path).length - 1 }));
    expect(lengths.filter(({ lines }) => lines > LINES_MAX)).toEqual([]);
    const long = lengths.filter(({ lines }) => lines > LINES_USUAL);
    expect(long.length / lengths.length, JSON.stringify(long)).toBeLessThan(1 - USUAL_SHARE);
  });
});

interface LockedPackage {
  readonly resolved?: string;
  readonly integrity?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

describe('what a file must not hold', () => {
  it('the environment and the arguments are read at the entrances, and handed on', () => {
    const entrances = ['src/config.ts', 'src/main.ts', 'src/model-cli.ts'];
    const others = inSrc.filter((path) => !entrances.includes(path));
    expect(places(others, /\bprocess\.(env|argv)\b/)).toEqual([]);
  });

  it('nothing is left for later in a comment', () => {
    expect(
      places(sources, new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'HA' + 'CK'].join('|')})\\b`)),
    ).toEqual([]);
  });

  it('no test is run alone, and one that may not run says why: by the name of its condition, or on the line above', () => {
    const tests = tracked.filter((path) => path.startsWith('test/') && path.endsWith('.ts'));
    expect(places(tests, /\b(it|test|describe)(\.\w+)*\.(only|todo)\b/)).toEqual([]);
    const skips = /\b(it|test|describe)\.(skip|skipIf|runIf)\b(?!\(!?\w+\)\()/;
    const silent = tests.flatMap((path) =>
      linesOf(path).flatMap((line, at, lines) =>
        skips.test(line) && !/\/\/|\*\//.test(lines[at - 1] ?? '') ? [`${path}:${at + 1}: ${line.trim()}`] : [],
      ),
    );
    expect(silent).toEqual([]);
  });

  it('no tracked file names a path of one machine', () => {
    const texts = tracked.filter((path) => !BINARY.test(path) && path !== 'test/tidy.test.ts');
    expect(places(texts, /(^|[^A-Za-z0-9_.])\/(work|farm|root|home\/[a-z]+|Users\/[A-Za-z]+)\/[A-Za-z._]/)).toEqual([]);
  });

  it('no tracked file names the host of a package registry', () => {
    const hosts =
      /registry\.npmjs|\bpypi\.org|pythonhosted|crates\.io|proxy\.golang|maven\.(org|apache)|deb\.debian|index-url[ =]+["']?http/;
    const texts = tracked.filter((path) => !BINARY.test(path) && path !== 'test/tidy.test.ts');
    expect(places(texts, hosts)).toEqual([]);
  });

  const packages = Object.entries(
    (JSON.parse(read('package-lock.json')) as { packages: Record<string, LockedPackage> }).packages,
  ).filter(([path]) => path !== '');

  it('the lock file says what a package is, not where one machine got it', () => {
    expect(packages.length).toBeGreaterThan(50);
    expect(packages.filter(([, { resolved }]) => resolved !== undefined).map(([path]) => path)).toEqual([]);
    expect(packages.filter(([, { integrity }]) => integrity === undefined).map(([path]) => path)).toEqual([]);
  });

  it('the lock file holds the parts of every platform: npm ci refuses it otherwise', () => {
    const held = new Set(
      packages.map(([path]) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)),
    );
    const wanted = packages.flatMap(([, { optionalDependencies = {} }]) => Object.keys(optionalDependencies));
    expect(wanted.filter((name) => !held.has(name))).toEqual([]);
  });
});
