/**
 * What a model's own files say about how it is to be used: config.json (transformers), tokenizer_config.json,
 * sentence_bert_config.json, config_sentence_transformers.json, modules.json and its pooling module
 * (sentence-transformers), and the licence in the front matter of README.md. A file that is missing leaves its facts
 * undefined; a default is chosen elsewhere, where it can be reported.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Static, Type } from 'typebox';
import { JsonObject, readJsonFile } from './model-files.js';
import { safeRelativePath } from './source-files.js';

const optional = Type.Optional;
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(type: T) =>
  Type.Optional(Type.Union([type, Type.Null()]));

const EncoderConfig = Type.Object({
  architectures: nullable(Type.Array(Type.String())),
  model_type: optional(Type.String()),
  max_position_embeddings: nullable(Type.Integer()),
  num_attention_heads: nullable(Type.Integer()),
  pad_token_id: nullable(Type.Integer()),
  matryoshka_dimensions: nullable(Type.Array(Type.Integer({ minimum: 1 }))),
});
const TokenContent = Type.Union([Type.String(), Type.Object({ content: Type.String() })]);
const TokenizerConfig = Type.Object({
  pad_token: nullable(TokenContent),
  padding_side: optional(Type.Enum(['right', 'left'])),
  model_max_length: nullable(Type.Number()),
});
const SentenceBertConfig = Type.Object({ max_seq_length: nullable(Type.Integer({ minimum: 1 })) });
const SentenceTransformersConfig = Type.Object({
  prompts: nullable(Type.Record(Type.String(), Type.String())),
  default_prompt_name: nullable(Type.String()),
  similarity_fn_name: nullable(Type.String()),
});
const Modules = Type.Array(Type.Object({ type: Type.String(), path: Type.String() }));

export type OwnPooling = 'mean' | 'cls' | 'last';

export interface ModelFacts {
  readonly architecture: string | undefined;
  readonly heads: number | undefined;
  /** The pooling it was trained with; a string that is no OwnPooling names one that is not served. */
  readonly pooling: OwnPooling | { readonly unsupported: string } | undefined;
  /** Modules behind the pooling, such as Dense, that change the embedding and that only the graph could hold. */
  readonly furtherModules: readonly string[];
  readonly normalize: boolean;
  /** Longest input in tokens, special tokens included. */
  readonly maxTokens: number | undefined;
  /** Positions that the encoder has embeddings for: no longer input can run. */
  readonly positions: number | undefined;
  readonly prompts: Readonly<Record<string, string>>;
  readonly matryoshkaDimensions: readonly number[];
  readonly padToken: string | undefined;
  readonly padTokenId: number | undefined;
  readonly paddingSide: 'right' | 'left' | undefined;
  /** The whole of tokenizer_config.json. */
  readonly tokenizerConfig: Readonly<Record<string, unknown>> | undefined;
  readonly license: string | undefined;
}

/** @param root folder of the configuration files */
export async function readModelFacts(root: string): Promise<ModelFacts> {
  const encoder = await readJsonFile(join(root, 'config.json'), EncoderConfig);
  const tokenizerConfig = await readJsonFile(join(root, 'tokenizer_config.json'), JsonObject);
  const tokenizer = await readJsonFile(join(root, 'tokenizer_config.json'), TokenizerConfig);
  const sentence = await readJsonFile(join(root, 'config_sentence_transformers.json'), SentenceTransformersConfig);
  const modules = (await readJsonFile(join(root, 'modules.json'), Modules)) ?? [];
  const kinds = modules.map(({ type }) => type.split('.').at(-1)!);
  const transformer = modules[kinds.indexOf('Transformer')]?.path ?? '';
  const sentenceBert = await readJsonFile(within(root, transformer, 'sentence_bert_config.json'), SentenceBertConfig);
  const positions = usablePositions(encoder);
  const limits = [sentenceBert?.max_seq_length, realLimit(tokenizer?.model_max_length), positions];
  const known = limits.filter((limit): limit is number => typeof limit === 'number');
  const pad = tokenizer?.pad_token ?? undefined;
  return {
    architecture: encoder?.architectures?.[0],
    heads: encoder?.num_attention_heads ?? undefined,
    pooling: await ownPooling(root, modules[kinds.indexOf('Pooling')]?.path ?? '1_Pooling'),
    furtherModules: kinds.filter((kind) => !['Transformer', 'Pooling', 'Normalize'].includes(kind)),
    normalize: kinds.includes('Normalize') || !/^dot/.test(sentence?.similarity_fn_name ?? 'cosine'),
    maxTokens: known.length > 0 ? Math.min(...known) : undefined,
    positions,
    prompts: ownPrompts(sentence),
    matryoshkaDimensions: encoder?.matryoshka_dimensions ?? [],
    padToken: typeof pad === 'object' ? pad.content : pad,
    padTokenId: encoder?.pad_token_id ?? undefined,
    paddingSide: tokenizer?.padding_side,
    tokenizerConfig,
    license: await licenseOf(join(root, 'README.md')),
  };
}

const within = (root: string, folder: string, file: string): string =>
  folder === '' ? join(root, file) : join(root, safeRelativePath(folder), file);

/** transformers writes 1e30 for "no limit". */
const realLimit = (limit: number | null | undefined): number | undefined =>
  limit && limit < 1e6 ? Math.trunc(limit) : undefined;

/** RoBERTa and its kin number positions from the padding id on, so that many embeddings are never used. */
const OFFSET_POSITIONS = new Set(['roberta', 'xlm-roberta', 'camembert', 'mpnet', 'longformer', 'data2vec-text']);

function usablePositions(encoder: Static<typeof EncoderConfig> | undefined): number | undefined {
  const positions = encoder?.max_position_embeddings ?? undefined;
  if (positions === undefined || positions <= 0) return undefined;
  return OFFSET_POSITIONS.has(encoder?.model_type ?? '') ? positions - (encoder?.pad_token_id ?? 1) - 1 : positions;
}

const POOLING_FLAGS = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_lasttoken: 'last',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_sqrt_len_tokens: 'mean_sqrt_len',
  pooling_mode_weightedmean_tokens: 'weightedmean',
} as const;

/** Reads sentence-transformers' pooling module; several modes at once are concatenated there, which is not served here. */
async function ownPooling(root: string, folder: string): Promise<ModelFacts['pooling']> {
  const config = await readJsonFile(within(root, folder, 'config.json'), JsonObject);
  if (config === undefined) return undefined;
  const flagged = Object.entries(POOLING_FLAGS).flatMap(([flag, mode]) => (config[flag] === true ? [mode] : []));
  const modes = typeof config.pooling_mode === 'string' ? [config.pooling_mode] : flagged;
  const [mode] = modes;
  if (modes.length === 1 && (mode === 'mean' || mode === 'cls')) return mode;
  if (modes.length === 1 && (mode === 'last' || mode === 'lasttoken')) return 'last';
  return { unsupported: modes.join('+') || 'none' };
}

/** `query` and `document` under whatever name the model has them, and its further tasks as they are. */
function ownPrompts(sentence: Static<typeof SentenceTransformersConfig> | undefined): Record<string, string> {
  const prompts = sentence?.prompts ?? {};
  const fallback = prompts[sentence?.default_prompt_name ?? ''] ?? '';
  return {
    ...prompts,
    query: prompts.query ?? fallback,
    document: prompts.document ?? prompts.passage ?? fallback,
  };
}

/** `license: apache-2.0` between the dashes at the head of a model card. */
async function licenseOf(readme: string): Promise<string | undefined> {
  const text = await readFile(readme, 'utf8').catch(() => '');
  const head = /^---\r?\n(.*?)\r?\n---/s.exec(text)?.[1] ?? '';
  return /^license:\s*['"]?([\w.+-]+)/m.exec(head)?.[1];
}
