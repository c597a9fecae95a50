import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type Config, configHelp, readConfig, SETTINGS } from '../src/config.js';

const folder = mkdtempSync(join(tmpdir(), 'anchorage-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

const read = (argv: string[] = [], env: Record<string, string> = {}): Config => readConfig({ argv, env }) as Config;
const fileWith = (content: string): string => {
  const file = join(folder, `${Math.random().toString(36).slice(2)}.json`);
  writeFileSync(file, content);
  return file;
};

describe('settings', () => {
  it('have defaults that lie within their own bounds', () => {
    for (const setting of Object.values(SETTINGS)) {
      if (setting.kind !== 'integer') continue;
      expect(setting.default).toBeGreaterThanOrEqual(setting.min);
      expect(setting.default).toBeLessThanOrEqual(setting.max);
    }
  });

  it('rise from file over environment to flags', () => {
    const config = fileWith('{"port": 1001, "workers": 3, "queueTextsMax": 7}');
    const env = { ANCHORAGE_PORT: '1002', ANCHORAGE_WORKERS: '4' };
    expect(read(['--config', config, '--port', '1003'], env)).toMatchObject({
      port: 1003,
      workers: 4,
      queueTextsMax: 7,
    });
  });

  it('are frozen', () => {
    expect(() => Object.assign(read(), { port: 1 })).toThrow(TypeError);
  });

  it('take lists, booleans and --name=value', () => {
    expect(read(['--api-keys=a, b,', '--insecure'])).toMatchObject({ apiKeys: ['a', 'b'], insecure: true });
    expect(read(['--insecure=false'])).toMatchObject({ insecure: false });
  });

  it.each([
    [['--prot', '1'], {}, '--prot is no setting'],
    [['port'], {}, 'port is no setting'],
    [['--port'], {}, '--port needs a value'],
    [['--port', '70000'], {}, '--port is "70000"; expected a whole number from 0 to 65535'],
    [['--port', '8e1'], {}, '--port is "8e1"'],
    [['--device', 'tpu'], {}, 'expected one of cpu, cuda, coreml, dml'],
    [['--insecure=maybe'], {}, 'expected true or false'],
    [[], { ANCHORAGE_PROT: '1' }, 'ANCHORAGE_PROT is no setting'],
    [[], { ANCHORAGE_WORKERS: 'two' }, 'ANCHORAGE_WORKERS is "two"'],
  ])('refuse %j with %j by name', (argv, env, message) => {
    expect(() => read(argv, env as Record<string, string>)).toThrow(message);
  });

  it.each([
    ['{"prot": 1}', 'prot in'],
    ['[1]', 'a JSON object of settings is expected'],
    ['{"port": 1', '--config'],
    ['{"port": "x"}', 'port in'],
  ])('refuse the file %s', (content, message) => {
    expect(() => read(['--config', fileWith(content)])).toThrow(message);
  });

  it('do not show a secret in an error', () => {
    const config = fileWith('{"adminToken": 12345}');
    expect(() => read(['--config', config])).toThrow(/adminToken in .* is \(a secret\)/);
  });

  it('are all listed by --help', () => {
    expect(readConfig({ argv: ['--help'], env: {} })).toBe('help');
    const help = configHelp();
    expect(Object.keys(SETTINGS).length).toBeGreaterThan(15);
    for (const name of ['--batch-tokens-max', 'ANCHORAGE_BATCH_TOKENS_MAX', '--api-keys']) expect(help).toContain(name);
  });
});
