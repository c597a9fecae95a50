/**
 * Every setting of the server, once: its default, its bounds and its line of help. Always true here: this is the only
 * file that reads process.env and argv; the result is frozen; an unknown or ill-formed setting stops the start with one
 * line that names it. Sources in rising order: the JSON file of --config, ANCHORAGE_* variables, flags.
 */
import { readFileSync } from 'node:fs';
import { AnchorageError } from './errors.js';

const MIB = 1024 * 1024;

interface StringSetting {
  readonly kind: 'string';
  readonly default: string;
  /** Not shown by --help's defaults, never logged. */
  readonly secret?: boolean;
  readonly help: string;
}
interface ChoiceSetting<T extends string = string> {
  readonly kind: 'choice';
  readonly default: T;
  readonly choices: readonly T[];
  readonly help: string;
}
interface IntegerSetting {
  readonly kind: 'integer';
  readonly default: number;
  readonly min: number;
  readonly max: number;
  readonly help: string;
}
interface BooleanSetting {
  readonly kind: 'boolean';
  readonly default: boolean;
  readonly help: string;
}
interface ListSetting {
  readonly kind: 'list';
  readonly default: readonly string[];
  readonly secret?: boolean;
  readonly help: string;
}
type Setting = StringSetting | ChoiceSetting | IntegerSetting | BooleanSetting | ListSetting;

const text = (fallback: string, help: string, more: Partial<StringSetting> = {}): StringSetting => ({
  kind: 'string',
  default: fallback,
  help,
  ...more,
});
const integer = (fallback: number, [min, max]: readonly [number, number], help: string): IntegerSetting => ({
  kind: 'integer',
  default: fallback,
  min,
  max,
  help,
});

const choice = <const T extends string>(fallback: T, choices: readonly T[], help: string): ChoiceSetting<T> => ({
  kind: 'choice',
  default: fallback,
  choices,
  help,
});

export const SETTINGS = {
  host: text('127.0.0.1', 'address to listen on; beyond loopback it needs API keys, or --insecure'),
  port: integer(8080, [0, 65535], 'port to listen on; 0 picks a free one and prints it'),
  dataDir: text('./data', 'folder of the index, the admin token and all that must survive'),
  modelsDir: text('./models', 'folder of the model versions: <name>/<version>/manifest.json'),
  model: text('anchorage-small@6-int8', 'model to serve: name[@version]'),
  store: choice('embedded', ['embedded'], 'where documents live'),
  apiKeys: {
    kind: 'list',
    default: [],
    secret: true,
    help: 'keys, separated by commas, of which every route but health asks one; none means open',
  } satisfies ListSetting,
  adminToken: text('', 'token of the /admin routes; empty: made at the first start and kept in DATA_DIR', {
    secret: true,
  }),
  insecure: {
    kind: 'boolean',
    default: false,
    help: 'listen beyond loopback without API keys',
  } satisfies BooleanSetting,
  engine: choice(
    'auto',
    ['auto', 'native', 'onnxruntime'],
    'what computes the model: native is for static int8 on Linux x64 with AVX-512 VNNI; auto: native where it can',
  ),
  device: choice('cpu', ['cpu', 'cuda', 'coreml', 'dml'], 'where the model runs'),
  workers: integer(
    0,
    [0, 256],
    'inference threads; 0: as many as keep every core busy. The native engine adds one for queries alone',
  ),
  threadsPerWorker: integer(
    1,
    [1, 256],
    "threads inside one session's operators; with more than 1, engine auto is onnxruntime",
  ),
  batchTokensMax: integer(512, [16, 262_144], 'tokens of one batch, padding included'),
  queueTextsMax: integer(16_384, [1, 10_000_000], 'texts that may wait; beyond it requests get 429'),
  textsPerRequestMax: integer(2048, [1, 1_000_000], 'texts of one request'),
  textCharactersMax: integer(1_000_000, [16, 100_000_000], 'characters of one text, before truncation to tokens'),
  bodyBytesMax: integer(32 * MIB, [1024, 2048 * MIB], 'bytes of one request body'),
  cacheBytesMax: integer(32 * MIB, [0, 1_000_000 * MIB], 'bytes of the embedding cache; 0 turns it off'),
  trainerDir: text('./trainer', 'the trainer: the folder of that name in a checkout; jobs run it with Python'),
  jobQueueMax: integer(64, [1, 10_000], 'jobs that may wait; beyond it POST /admin/jobs gets 429'),
  jobThreads: integer(0, [0, 256], "threads of the trainer's tensor operations; 0: its own choice, all cores"),
  jobPriority: choice(
    'idle',
    ['idle', 'low', 'normal'],
    'what a job gets of the cores: what nobody else wants, a small share (nice 19), or as much as the server',
  ),
  jobLlmUrls: {
    kind: 'list',
    default: [],
    help: 'base URLs of LLMs, separated by commas, that jobs may send passages to (https://api.openai.com/v1); none: no job does',
  } satisfies ListSetting,
  jobMemoryBytesMax: integer(
    8192 * MIB,
    [0, 100_000_000 * MIB],
    'resident bytes of a job with all its processes, beyond which it is ended; 0: no bound (measured on Linux alone)',
  ),
  jobSilenceSecondsMax: integer(1800, [5, 86_400], 'a job whose trainer writes nothing for so long is ended'),
  jobsKept: integer(100, [1, 100_000], 'jobs that are over and stay listed, with their folders'),
  feedback: {
    kind: 'boolean',
    default: false,
    help: 'keep the texts of searches and what POST /feedback says of their results',
  } satisfies BooleanSetting,
  feedbackDays: integer(90, [1, 36_500], 'days after which a search and its feedback are forgotten'),
  trace: {
    kind: 'boolean',
    default: false,
    help: 'write a trace of requests through their stages to DATA_DIR/trace.json',
  } satisfies BooleanSetting,
  logLevel: choice(
    'info',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'least level that is logged',
  ),
} as const satisfies Record<string, Setting>;

type SettingValue<S extends Setting> = S extends IntegerSetting
  ? number
  : S extends BooleanSetting
    ? boolean
    : S extends ListSetting
      ? readonly string[]
      : S extends ChoiceSetting<infer T>
        ? T
        : string;
type SettingName = keyof typeof SETTINGS;
export type Config = { readonly [K in SettingName]: SettingValue<(typeof SETTINGS)[K]> };

export interface ConfigSources {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** `batchTokensMax` -> `BATCH_TOKENS_MAX`. */
export const upperSnake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
/** `batchTokensMax` -> `batch-tokens-max`. */
export const kebab = (name: string): string => upperSnake(name).toLowerCase().replaceAll('_', '-');

/**
 * @returns the frozen settings, or 'help' where --help was among the flags.
 * @throws AnchorageError CONFIG_INVALID naming the setting and where it came from.
 */
export function readConfig(sources: ConfigSources): Config | 'help' {
  const flags = readFlags(sources.argv);
  if (flags === 'help') return 'help';
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(SETTINGS)) values[name] = setting.default;
  const environment = readEnvironment(sources.env);
  const file = flags.file ?? environment.file;
  const layers = [file === undefined ? [] : readFile(file), environment.found, flags.found];
  for (const { name, value, origin } of layers.flat()) values[name] = interpret(name, value, origin);
  return Object.freeze(values) as Config;
}

interface Found {
  readonly name: SettingName;
  readonly value: unknown;
  /** How the user wrote it: `--port`, `ANCHORAGE_PORT`, `port in anchorage.json`. */
  readonly origin: string;
}

function readFlags(argv: readonly string[]): { found: Found[]; file: string | undefined } | 'help' {
  const names = new Map(Object.keys(SETTINGS).map((name) => [kebab(name), name as SettingName]));
  const found: Found[] = [];
  let file: string | undefined;
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i]!;
    if (argument === '--help' || argument === '-h') return 'help';
    const [flag, inline] = splitOnce(argument, '=');
    const name = names.get(flag.slice(2));
    if (!flag.startsWith('--') || (name === undefined && flag !== '--config')) throw unknown(argument, '--help');
    if (name !== undefined && SETTINGS[name].kind === 'boolean') {
      found.push({ name, value: inline ?? 'true', origin: flag });
      continue;
    }
    const value = inline ?? argv[++i];
    if (value === undefined) throw new AnchorageError('CONFIG_INVALID', `${flag} needs a value`);
    if (name === undefined) file = value;
    else found.push({ name, value, origin: flag });
  }
  return { found, file };
}

function readEnvironment(env: ConfigSources['env']): { found: Found[]; file: string | undefined } {
  const names = new Map(Object.keys(SETTINGS).map((name) => [`ANCHORAGE_${upperSnake(name)}`, name as SettingName]));
  const found: Found[] = [];
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('ANCHORAGE_') || variable === 'ANCHORAGE_CONFIG' || value === undefined) continue;
    const name = names.get(variable);
    if (name === undefined) throw unknown(variable, '--help');
    found.push({ name, value, origin: variable });
  }
  return { found, file: env.ANCHORAGE_CONFIG };
}

function readFile(path: string): Found[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new AnchorageError('CONFIG_INVALID', `--config ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new AnchorageError('CONFIG_INVALID', `--config ${path}: a JSON object of settings is expected`);
  }
  return Object.entries(parsed).map(([name, value]) => {
    if (!Object.hasOwn(SETTINGS, name)) throw unknown(`${name} in ${path}`, '--help');
    return { name: name as SettingName, value, origin: `${name} in ${path}` };
  });
}

function interpret(name: SettingName, value: unknown, origin: string): unknown {
  const setting: Setting = SETTINGS[name];
  const refuse = (expected: string): never => {
    const shown = 'secret' in setting && setting.secret ? '(a secret)' : JSON.stringify(value);
    throw new AnchorageError('CONFIG_INVALID', `${origin} is ${shown}; expected ${expected}`);
  };
  switch (setting.kind) {
    case 'integer': {
      const number = typeof value === 'string' && /^-?\d+$/.test(value.trim()) ? Number(value) : value;
      const fits = Number.isInteger(number) && (number as number) >= setting.min && (number as number) <= setting.max;
      return fits ? number : refuse(`a whole number from ${setting.min} to ${setting.max}`);
    }
    case 'boolean':
      if (typeof value === 'boolean') return value;
      return value === 'true' || value === '1'
        ? true
        : value === 'false' || value === '0'
          ? false
          : refuse('true or false');
    case 'list': {
      const list = typeof value === 'string' ? value.split(',') : value;
      if (!Array.isArray(list) || !list.every((one) => typeof one === 'string')) return refuse('a list of strings');
      return Object.freeze(list.map((one: string) => one.trim()).filter((one) => one !== ''));
    }
    case 'choice':
      return setting.choices.includes(value as string) ? value : refuse(`one of ${setting.choices.join(', ')}`);
    case 'string':
      return typeof value === 'string' ? value : refuse('a string');
  }
}

const splitOnce = (whole: string, separator: string): [string, string | undefined] => {
  const at = whole.indexOf(separator);
  return at < 0 ? [whole, undefined] : [whole.slice(0, at), whole.slice(at + 1)];
};

const unknown = (what: string, where: string): AnchorageError =>
  new AnchorageError('CONFIG_INVALID', `${what} is no setting; ${where} lists them`);

/** The environment that a job's trainer sees: the server's own, without what is this server's alone. */
export function jobEnvironment(env: ConfigSources['env']): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('ANCHORAGE_')));
}

/**
 * onnxruntime's Linux library writes a device id below the home folder and reports its use to its maker, unless this
 * variable is set before the library is loaded. Nothing leaves this machine that nobody asked for.
 * @param env process.env itself: the library reads the process's environment, not a copy of it.
 */
export function forbidTelemetry(env: NodeJS.ProcessEnv): void {
  env.ORT_DISABLE_TELEMETRY ??= '1';
}

/** The text of --help, one line a setting, from the same table that reads them. */
export function configHelp(): string {
  const lines = Object.entries(SETTINGS as Record<string, Setting>).map(([name, setting]) => {
    const fallback = setting.kind === 'list' ? setting.default.join(',') : String(setting.default);
    const bounds =
      setting.kind === 'integer'
        ? ` [${setting.min} to ${setting.max}]`
        : setting.kind === 'choice'
          ? ` [${setting.choices.join(' | ')}]`
          : '';
    return `  --${kebab(name).padEnd(22)} ANCHORAGE_${upperSnake(name).padEnd(22)} ${setting.help}${bounds} (${fallback || 'empty'})`;
  });
  return [
    'anchorage: embedding server with anchor-token-aware pooling',
    '',
    'Settings, in rising order: keys of the JSON file named by --config (or ANCHORAGE_CONFIG), environment, flags.',
    '',
    ...lines,
    '',
  ].join('\n');
}
