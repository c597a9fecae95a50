/** The flags of `import`: one table for reading them and for --help. */
import { parseArgs } from 'node:util';
import { AnchorageError } from '../../errors.js';
import { POOLING_MODES } from './pooling-choice.js';

interface Flag {
  /** What stands behind the flag in --help. */
  readonly value: string;
  readonly help: string;
}

const FLAGS = {
  name: { value: 'name', help: "the model's name; default: the folder's, file's or hub repository's" },
  version: { value: 'version', help: 'default: 1-<quantization>, such as 1-float32' },
  variant: { value: 'name', help: 'the graph to take: model_quantized takes onnx/model_quantized.onnx' },
  file: { value: 'path', help: 'the graph to take, by its path in the folder or repository' },
  tokenizer: { value: 'path', help: "the tokenizer's JSON, where it is not tokenizer.json" },
  pooling: { value: POOLING_MODES.join('|'), help: 'default: ata for models trained with the mean, else their own' },
  gamma: { value: 'number', help: 'exponent of the received attention in ata pooling, 0 to 16; default 0.5' },
  'max-tokens': { value: 'count', help: "longest input, special tokens included; default: the model's" },
  'query-prompt': { value: 'text', help: "put before queries; default: the model's" },
  'document-prompt': { value: 'text', help: "put before documents; default: the model's" },
  license: { value: 'text', help: "the weights' licence, for the record; default: the model card's" },
  output: { value: 'folder', help: 'folder of the model versions; default: ANCHORAGE_MODELS_DIR or ./models' },
} as const satisfies Record<string, Flag>;

export interface ImportFlags {
  readonly source: string;
  readonly name: string | undefined;
  readonly version: string | undefined;
  readonly variant: string | undefined;
  readonly file: string | undefined;
  readonly tokenizer: string | undefined;
  readonly pooling: (typeof POOLING_MODES)[number] | undefined;
  readonly gamma: number | undefined;
  readonly maxTokens: number | undefined;
  readonly queryPrompt: string | undefined;
  readonly documentPrompt: string | undefined;
  readonly license: string | undefined;
  readonly output: string | undefined;
}

/** @throws AnchorageError CONFIG_INVALID that names the flag */
export function readImportFlags(argv: readonly string[]): ImportFlags {
  const { values, positionals } = parse(argv);
  const [source, ...more] = positionals;
  if (source === undefined) throw usage('import needs a folder, an .onnx file or a hub name org/name');
  if (more.length > 0) throw usage(`import takes one model at a time, so what is ${JSON.stringify(more[0])}?`);
  if (values.file !== undefined && values.variant !== undefined) throw usage('--file and --variant exclude each other');
  return {
    source,
    name: values.name,
    version: values.version,
    variant: values.variant,
    file: values.file,
    tokenizer: values.tokenizer,
    pooling: oneOf('--pooling', values.pooling, POOLING_MODES),
    gamma: within('--gamma', values.gamma, { min: 0, max: 16 }),
    maxTokens: within('--max-tokens', values['max-tokens'], { min: 4, max: 1_000_000, whole: true }),
    queryPrompt: values['query-prompt'],
    documentPrompt: values['document-prompt'],
    license: values.license,
    output: values.output,
  };
}

export function importFlagsHelp(): string {
  return Object.entries(FLAGS)
    .map(([name, { value, help }]) => {
      const flag = `  --${name} ${value}`;
      return flag.length < 28 ? `${flag.padEnd(28)} ${help}` : `${flag}\n${' '.repeat(28)} ${help}`;
    })
    .join('\n');
}

type Values = { readonly [K in keyof typeof FLAGS]: string | undefined };

function parse(argv: readonly string[]): { values: Values; positionals: string[] } {
  const options = Object.fromEntries(Object.keys(FLAGS).map((name) => [name, { type: 'string' }] as const));
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true });
    return { values: values as Values, positionals };
  } catch (error) {
    throw usage((error as Error).message.split('. ')[0]!);
  }
}

function oneOf<T extends string>(flag: string, value: string | undefined, choices: readonly T[]): T | undefined {
  const choice = choices.find((one) => one === value);
  if (value !== undefined && choice === undefined) {
    throw usage(`${flag} ${JSON.stringify(value)}: expected one of ${choices.join(', ')}`);
  }
  return choice;
}

function within(
  flag: string,
  value: string | undefined,
  { min, max, whole = false }: { min: number; max: number; whole?: boolean },
): number | undefined {
  if (value === undefined) return undefined;
  const number = value.trim() === '' ? Number.NaN : Number(value);
  if (number >= min && number <= max && (!whole || Number.isInteger(number))) return number;
  throw usage(`${flag} ${JSON.stringify(value)}: expected a ${whole ? 'whole ' : ''}number from ${min} to ${max}`);
}

const usage = (problem: string): AnchorageError => new AnchorageError('CONFIG_INVALID', problem);
