import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ImportedModel, type ImportRequest, importModel } from '../../../src/model/import/import-model.js';
import { findModelFiles, type LocalChoice } from '../../../src/model/import/model-files.js';
import { readManifest, verifyFiles } from '../../../src/model/manifest.js';
import { HEADS, HIDDEN, POSITIONS, type TinyEncoder, tinyEncoderBytes } from './tiny-encoder.js';
import {
  type FileContents,
  TOKENIZER,
  temporaryFolder,
  tinyModelFiles,
  withExternalData,
  withModules,
  writeFolder,
} from './tiny-model.js';

type Options = Partial<ImportRequest> & LocalChoice;

async function imported(files: FileContents, options: Options = {}): Promise<ImportedModel> {
  return importPath(await writeFolder(files), options);
}

async function importPath(path: string, options: Options = {}): Promise<ImportedModel> {
  const modelsDir = options.modelsDir ?? (await temporaryFolder());
  const files = await findModelFiles(path, options);
  return importModel({ files, origin: 'tiny', tool: 'test', ...options, modelsDir });
}

const meanModel = (encoder?: TinyEncoder) => tinyModelFiles('mean_tokens', encoder);

describe('an imported version', () => {
  it('has a manifest that says what the model files say, and files that match it', async () => {
    const { folder, manifest, check } = await imported(meanModel(), { revision: 'abc' });
    expect(folder.endsWith(join('tiny-model', '1-float32'))).toBe(true);
    expect(await readManifest(folder)).toEqual(manifest);
    await verifyFiles(folder, manifest);
    expect(manifest).toMatchObject({
      name: 'tiny-model',
      version: '1-float32',
      architecture: 'BertModel',
      dimensions: HIDDEN,
      maxTokens: 48,
      pooling: { mode: 'ata', gamma: 0.5 },
      normalize: true,
      inputs: ['input_ids', 'attention_mask', 'token_type_ids'],
      outputs: { hiddenStates: 'last_hidden_state', receivedAttention: 'received_attention' },
      padTokenId: 0,
      paddingSide: 'right',
      prompts: { query: 'query: ', document: 'passage: ', passage: 'passage: ', title: 'title: ' },
      quantization: 'float32',
      batchInvariant: true,
      source: {
        origin: 'tiny',
        revision: 'abc',
        file: 'onnx/model.onnx',
        license: 'apache-2.0',
        trainedPooling: 'mean',
      },
    });
    expect(Object.keys(manifest.files)).toEqual([
      'model.onnx',
      'special_tokens_map.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect((await readdir(folder)).sort()).toContain('LICENSE');
    expect(check.heads).toBe(HEADS);
    expect(check.batchCosine).toBeGreaterThan(0.999999);
  });

  it('keeps a stated pooling by the first token, and still gets received attention', async () => {
    const { manifest } = await imported(tinyModelFiles('cls_token'));
    expect(manifest.pooling).toEqual({ mode: 'cls' });
    expect(manifest.outputs.receivedAttention).toBe('received_attention');
  });

  it('takes pooling, length, prompts, name, version and licence as asked', async () => {
    const { manifest } = await imported(tinyModelFiles('cls_token'), {
      pooling: 'ata',
      gamma: 1,
      maxTokens: 60,
      queryPrompt: '',
      documentPrompt: 'doc: ',
      name: 'other',
      version: 'v2',
      license: 'MIT',
    });
    expect(manifest).toMatchObject({ name: 'other', version: 'v2', maxTokens: 60, pooling: { mode: 'ata', gamma: 1 } });
    expect(manifest.prompts).toMatchObject({ query: '', document: 'doc: ' });
    expect(manifest.source.license).toBe('MIT');
  });

  it('comes from a bare graph with the tokenizer beside it under another name', async () => {
    const folder = await writeFolder({ 'some.onnx': tinyEncoderBytes(), 'some-tokenizer.json': TOKENIZER });
    const { manifest, folder: version } = await importPath(join(folder, 'some.onnx'), { maxTokens: 32 });
    expect(manifest).toMatchObject({ name: 'some', architecture: 'unknown', pooling: { mode: 'ata', gamma: 0.5 } });
    expect(JSON.parse(await readFile(join(version, 'tokenizer_config.json'), 'utf8'))).toEqual({
      model_max_length: 32,
      pad_token: '[PAD]',
      padding_side: 'right',
    });
  });

  it.each([
    ['opset 11', { opset: 11 }],
    ['a dropout behind the softmax', { attention: 'dropout', opset: 11 }],
    ['a guard against NaN', { attention: 'nan-guard' }],
    ['weights of 16 bits', { float16: true }],
    ['outputs of other names', { hiddenStatesOutput: 'output_0', sentenceOutput: '882' }],
    ['no token types', { furtherInputs: [] }],
  ] as const)('is made of a graph with %s', async (_, encoder) => {
    const { manifest, check } = await imported(meanModel(encoder));
    expect(check.heads).toBe(HEADS);
    expect(check.hiddenStatesDifference).toBeLessThan(1e-6);
    expect(manifest).toMatchObject({ batchInvariant: true, dimensions: HIDDEN });
    expect(manifest.outputs.sentenceEmbedding).toBeUndefined();
  });

  it('of 16-bit weights hands out its hidden states as float32', async () => {
    const { manifest } = await imported(meanModel({ float16: true }));
    expect(manifest.quantization).toBe('float16');
    expect(manifest.outputs.hiddenStates).toBe('last_hidden_state_float32');
  });

  it('of dynamically quantized products is recorded as depending on its batch', async () => {
    const { manifest, check } = await imported(meanModel({ attention: 'quantized' }));
    expect(check.batchCosine).toBeLessThan(0.9999);
    expect(manifest).toMatchObject({ quantization: 'int8-dynamic', batchInvariant: false, version: '1-int8-dynamic' });
  });

  it('keeps weights beside the graph under the name that the graph knows', async () => {
    const { manifest, folder } = await imported(withExternalData(meanModel()));
    expect(Object.keys(manifest.files)).toContain('model.onnx_data');
    await verifyFiles(folder, manifest);
  });

  it('serves the embedding that the graph pools by itself, if asked', async () => {
    const { manifest } = await imported(meanModel({ sentenceOutput: 'sentence_embedding' }), { pooling: 'graph' });
    expect(manifest.pooling).toEqual({ mode: 'graph' });
    expect(manifest.outputs.sentenceEmbedding).toBe('sentence_embedding');
  });
});

describe('a graph whose last attention cannot be had', () => {
  it.each([
    ['fused', /fused com\.microsoft\.MultiHeadAttention operator \(.+--pooling mean or --pooling cls/],
    ['folded', /self-check failed: received attention sums to .+--pooling mean or --pooling cls/],
  ] as const)('is refused with the reason where it is %s', async (attention, reason) => {
    await expect(imported(meanModel({ attention }))).rejects.toThrow(reason);
  });

  it.each(['fused', 'folded'] as const)('serves with mean pooling if asked, where it is %s', async (attention) => {
    const { manifest, check, attention: line } = await imported(meanModel({ attention }), { pooling: 'mean' });
    expect(manifest.pooling).toEqual({ mode: 'mean' });
    expect(manifest.outputs).toEqual({ hiddenStates: 'last_hidden_state' });
    expect(check.heads).toBeUndefined();
    expect(line).toMatch(/^none: /);
  });

  it('serves with ATA all the same if it hands its probabilities out', async () => {
    await expect(imported(meanModel({ attention: 'written-out' }))).rejects.toThrow(/no Softmax that weighs values/);
    const { check, attention } = await imported(
      meanModel({ attention: 'written-out', attentionsOutput: 'attentions' }),
    );
    expect(check.heads).toBe(HEADS);
    expect(attention).toBe('appended behind output attentions');
  });
});

/** Claims twice the length that the encoder has positions for. */
const MORE_TOKENS = { 'config.json': {}, 'sentence_bert_config.json': { max_seq_length: 2 * POSITIONS } };

describe('what cannot be imported leaves nothing behind', () => {
  const bad: [string, FileContents, Options, RegExp][] = [
    ['a pooling that is not served', tinyModelFiles('max_tokens'), {}, /max pooling, which is not served/],
    ['layers behind the pooling', withModules(meanModel(), 'Transformer', 'Pooling', 'Dense'), {}, /puts Dense behind/],
    ['a graph that wants more', meanModel({ furtherInputs: ['position_ids'] }), {}, /the graph wants position_ids/],
    ['no tokenizer', without(meanModel(), 'tokenizer.json'), {}, /no tokenizer\.json/],
    ['no graph', without(meanModel(), 'onnx/model.onnx'), {}, /no \.onnx file/],
    ['an unknown variant', meanModel(), { variant: 'model_q4' }, /no variant model_q4.+onnx\/model\.onnx/],
    ['a graph that is text', { ...meanModel(), 'onnx/model.onnx': 'hello' }, {}, /is not an ONNX model/],
    ['a configuration that is cut off', { ...meanModel(), 'config.json': '{"a' }, {}, /config\.json is not JSON/],
    ['a tokenizer of another kind', { ...meanModel(), 'tokenizer.json': { model: 1 } }, {}, /tokenizer\.json/],
    ['more tokens than positions', meanModel(), { maxTokens: 65 }, /the encoder has 64 positions/],
    ['gamma without ATA', tinyModelFiles('cls_token'), { gamma: 1 }, /--gamma needs --pooling ata/],
    [
      'another number of heads',
      { ...meanModel(), 'config.json': { num_attention_heads: 3 } },
      {},
      /not to the 3 heads/,
    ],
    [
      'fewer positions than it claims',
      { ...meanModel(), ...MORE_TOKENS },
      {},
      /cannot run the graph over \[8, 128\] tokens: /,
    ],
    ['data outside its folder', withExternalData(meanModel(), '../secret'), {}, /unsafe file name/],
    ['data that is missing', without(withExternalData(meanModel()), 'onnx/model.onnx_data'), {}, /model\.onnx_data/],
    ['an embedding that is not there', meanModel(), { pooling: 'graph' }, /no output \[batch, dimensions\]/],
  ];

  it.each(bad)('%s', async (_, files, options, message) => {
    const modelsDir = await temporaryFolder();
    await expect(imported(files, { ...options, modelsDir })).rejects.toThrow(message);
    expect(await readdir(modelsDir)).toEqual([]);
  });

  it('a version that exists', async () => {
    const { folder } = await imported(meanModel());
    const modelsDir = dirname(dirname(folder));
    await expect(imported(meanModel(), { modelsDir })).rejects.toThrow(/versions never change; --version/);
    expect(await readdir(modelsDir)).toEqual(['tiny-model']);
    expect(await readdir(dirname(folder))).toEqual(['1-float32']);
  });

  it('an import that is interrupted', async () => {
    const modelsDir = await temporaryFolder();
    await expect(imported(meanModel(), { modelsDir, signal: AbortSignal.abort() })).rejects.toThrow(/abort/);
    expect(await readdir(modelsDir)).toEqual([]);
  });
});

function without(files: FileContents, path: string): FileContents {
  const { [path]: _, ...others } = files;
  return others;
}
