/** A whole model in Hugging Face layout around a tiny encoder, with a WordPiece tokenizer that spells words by letters. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { clearField, create, toBinary } from '@bufbuild/protobuf';
import { onTestFinished } from 'vitest';
import {
  TensorProto_DataLocation as DataLocation,
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  TensorProtoSchema,
} from '../../../src/model/import/onnx_pb.js';
import { HEADS, POSITIONS, type TinyEncoder, tinyEncoder, tinyEncoderBytes } from './tiny-encoder.js';

const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
const CHARACTERS = [...'abcdefghijklmnopqrstuvwxyz0123456789.,;:()=?!-/_'];
const PIECES = [...SPECIAL, ...CHARACTERS, ...CHARACTERS.slice(0, 36).map((letter) => `##${letter}`)];

export const TOKENIZER = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: SPECIAL.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [
      { SpecialToken: { id: '[CLS]', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '[SEP]', type_id: 0 } },
    ],
    pair: [],
    special_tokens: {
      '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
      '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
    },
  },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(PIECES.map((piece, id) => [piece, id])),
  },
};

export const CONFIG = {
  architectures: ['BertModel'],
  model_type: 'bert',
  max_position_embeddings: POSITIONS,
  num_attention_heads: HEADS,
  pad_token_id: 0,
};

const sentenceModules = (...types: string[]) =>
  types.map((type, idx) => ({
    idx,
    name: `${idx}`,
    path: type === 'Transformer' ? '' : `${idx}_${type}`,
    type: `sentence_transformers.models.${type}`,
  }));

export type FileContents = Record<string, unknown>;

/** The files of a model trained with `mode` pooling, by path; values that are not bytes or text become JSON. */
export function tinyModelFiles(mode: 'mean_tokens' | 'cls_token' | 'max_tokens', encoder?: TinyEncoder): FileContents {
  return {
    'onnx/model.onnx': tinyEncoderBytes(encoder),
    'tokenizer.json': TOKENIZER,
    'tokenizer_config.json': { pad_token: '[PAD]', model_max_length: 1e30, tokenizer_class: 'BertTokenizer' },
    'special_tokens_map.json': { pad_token: '[PAD]' },
    'config.json': CONFIG,
    'modules.json': sentenceModules('Transformer', 'Pooling', 'Normalize'),
    '1_Pooling/config.json': { [`pooling_mode_${mode}`]: true },
    'sentence_bert_config.json': { max_seq_length: 48 },
    'config_sentence_transformers.json': { prompts: { query: 'query: ', passage: 'passage: ', title: 'title: ' } },
    'README.md': '---\nlicense: apache-2.0\n---\n# Tiny\n',
    LICENSE: 'Apache License\n',
  };
}

export const withModules = (files: FileContents, ...types: string[]): FileContents => ({
  ...files,
  'modules.json': sentenceModules(...types),
});

/** The same model with its weights in `onnx/<name>` instead of in the graph. */
export function withExternalData(files: FileContents, name = 'model.onnx_data'): FileContents {
  const model = tinyEncoder();
  const pieces: Uint8Array[] = [];
  let offset = 0;
  for (const tensor of model.graph!.initializer) {
    if (tensor.rawData.length === 0) continue;
    const place = { location: name, offset, length: tensor.rawData.length };
    tensor.externalData = Object.entries(place).map(([key, value]) =>
      create(StringStringEntryProtoSchema, { key, value: `${value}` }),
    );
    tensor.dataLocation = DataLocation.EXTERNAL;
    pieces.push(tensor.rawData);
    offset += tensor.rawData.length;
    clearField(tensor, TensorProtoSchema.field.rawData);
  }
  return { ...files, 'onnx/model.onnx': toBinary(ModelProtoSchema, model), [`onnx/${name}`]: Buffer.concat(pieces) };
}

/** Writes files under a new folder that is removed after the test. */
export async function writeFolder(files: FileContents, name = 'Tiny Model'): Promise<string> {
  const folder = join(await temporaryFolder(), name);
  for (const [path, contents] of Object.entries(files)) {
    const target = join(folder, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, encoded(contents));
  }
  return folder;
}

export const encoded = (contents: unknown): Uint8Array =>
  contents instanceof Uint8Array
    ? contents
    : Buffer.from(typeof contents === 'string' ? contents : JSON.stringify(contents));

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'anchorage-import-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
