import { describe, expect, it } from 'vitest';
import { importFlagsHelp, readImportFlags } from '../../../src/model/import/flags.js';

describe('the flags of import', () => {
  it('are read, numbers as numbers, and left undefined where they are not given', () => {
    const argv = ['some/model', '--pooling', 'ata', '--gamma=0.25', '--max-tokens', '128', '--query-prompt', ''];
    const flags = readImportFlags(argv);
    expect(flags).toMatchObject({ source: 'some/model', pooling: 'ata', gamma: 0.25, maxTokens: 128, queryPrompt: '' });
    expect([flags.name, flags.documentPrompt, flags.output]).toEqual([undefined, undefined, undefined]);
  });

  it.each([
    [[], /import needs a folder, an \.onnx file or a hub name/],
    [['a', 'b'], /one model at a time.+"b"/],
    [['a', '--forse'], /Unknown option '--forse'/],
    [['a', '--name'], /--name/],
    [['a', '--gamma', 'x'], /--gamma "x": expected a number from 0 to 16/],
    [['a', '--gamma', ''], /--gamma "": expected a number/],
    [['a', '--gamma=-1'], /--gamma "-1"/],
    [['a', '--max-tokens', '1.5'], /--max-tokens "1\.5": expected a whole number from 4/],
    [['a', '--pooling', 'max'], /--pooling "max": expected one of ata, mean, cls, last, graph/],
    [['a', '--file', 'x', '--variant', 'y'], /--file and --variant exclude each other/],
  ])('%j are refused by name', (argv, message) => {
    expect(() => readImportFlags(argv)).toThrow(message);
    expect(() => readImportFlags(argv)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });

  it('are all in the help', () => {
    const help = importFlagsHelp();
    for (const flag of ['--name', '--variant', '--file', '--tokenizer', '--license', '--output'])
      expect(help).toContain(flag);
  });
});
