import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  describeFile,
  type Manifest,
  manifestFingerprint,
  readManifest,
  verifyFiles,
  writeManifest,
} from '../../src/model/manifest.js';

const CONTENTS = { 'model.onnx': 'graph', 'tokenizer.json': '{}', 'tokenizer_config.json': '{ }' };
let root: string;
let folder: string;
let manifest: Manifest;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'anchorage-manifest-'));
  folder = join(root, 'some-model', '1-float32');
  await mkdir(folder, { recursive: true });
  const files: Manifest['files'] = {};
  for (const [name, contents] of Object.entries(CONTENTS)) {
    await writeFile(join(folder, name), contents);
    files[name] = await describeFile(join(folder, name));
  }
  const unsigned: Omit<Manifest, 'fingerprint'> = {
    schemaVersion: 1,
    name: 'some-model',
    version: '1-float32',
    architecture: 'BertModel',
    dimensions: 384,
    matryoshkaDimensions: [256, 128],
    maxTokens: 512,
    pooling: { mode: 'ata', gamma: 0.5 },
    normalize: true,
    inputs: ['input_ids', 'attention_mask'],
    outputs: { hiddenStates: 'last_hidden_state', receivedAttention: 'received_attention' },
    padTokenId: 0,
    paddingSide: 'right',
    prompts: { query: 'q: ', document: '', title: 't: ' },
    quantization: 'float32',
    batchInvariant: true,
    files,
    source: { origin: 'test' },
    evaluation: [{ set: 'stsb', split: 'test', metric: 'spearman', value: 82.4 }],
  };
  manifest = { ...unsigned, fingerprint: manifestFingerprint(unsigned) };
});

afterEach(() => rm(root, { recursive: true, force: true }));

const writeRaw = (value: unknown): Promise<void> => writeFile(join(folder, 'manifest.json'), JSON.stringify(value));

describe('a manifest', () => {
  it('reads back as it was written, keys in order, and matches its files', async () => {
    const { schemaVersion, ...others } = manifest;
    await writeManifest(folder, { ...others, schemaVersion });
    expect(await readManifest(folder)).toEqual(manifest);
    await verifyFiles(folder, manifest);
    const text = await readFile(join(folder, 'manifest.json'), 'utf8');
    expect(text.startsWith('{\n  "schemaVersion": 1,\n  "name": "some-model",\n  "version": "1-float32",')).toBe(true);
    expect(text.endsWith('}\n')).toBe(true);
  });

  it('is never written twice', async () => {
    await writeManifest(folder, manifest);
    await expect(writeManifest(folder, manifest)).rejects.toThrow(/EEXIST/);
  });

  const wrong: [string, (copy: Record<string, unknown>) => void, RegExp][] = [
    ['an unknown key', (copy) => Object.assign(copy, { colour: 'red' }), /unknown keys colour/],
    ['an unknown output', (copy) => Object.assign(copy.outputs as object, { logits: 'x' }), /in outputs: logits/],
    [
      'a file outside the folder',
      (copy) => Object.assign(copy.files as object, { '../x': manifest.files['model.onnx'] }),
      /files/,
    ],
    ['a later schema', (copy) => Object.assign(copy, { schemaVersion: 2 }), /schemaVersion other than 1/],
    ['no dimensions', (copy) => void delete copy.dimensions, /dimensions/],
    ['ATA without gamma', (copy) => Object.assign(copy, { pooling: { mode: 'ata' } }), /has a pooling that is neither/],
    [
      'mean with gamma',
      (copy) => Object.assign(copy, { pooling: { mode: 'mean', gamma: 1 } }),
      /a pooling that is neither/,
    ],
    [
      'ATA without attention',
      (copy) => Object.assign(copy, { outputs: { hiddenStates: 'h' } }),
      /no output receivedAttention/,
    ],
    ['no document prompt', (copy) => Object.assign(copy, { prompts: { query: '' } }), /prompts .*document/],
    [
      'no tokenizer',
      (copy) => void delete (copy.files as Record<string, unknown>)['tokenizer.json'],
      /lists no tokenizer\.json/,
    ],
    ['another pooling than was fingerprinted', (copy) => Object.assign(copy, { maxTokens: 256 }), /has fingerprint/],
    [
      'the name of another folder',
      (copy) => Object.assign(copy, { name: 'other' }),
      /other\/1-float32 but lies in a folder/,
    ],
  ];

  it.each(wrong)('with %s is refused', async (_, change, message) => {
    const copy = JSON.parse(JSON.stringify(manifest)) as Record<string, unknown>;
    change(copy);
    await writeRaw(copy);
    await expect(readManifest(folder)).rejects.toThrow(message);
    await expect(readManifest(folder)).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });

  it('that is missing or no JSON is refused', async () => {
    await expect(readManifest(folder)).rejects.toThrow(/manifest\.json is missing: this is not a model version folder/);
    await writeFile(join(folder, 'manifest.json'), '{"a');
    await expect(readManifest(folder)).rejects.toThrow(/is not JSON/);
  });
});

describe('the files of a version', () => {
  it('that changed are named with what was expected and found', async () => {
    await writeFile(join(folder, 'model.onnx'), 'grapH');
    const { sha256 } = await describeFile(join(folder, 'model.onnx'));
    await expect(verifyFiles(folder, manifest)).rejects.toThrow(
      new RegExp(
        `model\\.onnx has SHA-256 ${sha256} where manifest\\.json says ${manifest.files['model.onnx']?.sha256}`,
      ),
    );
    await writeFile(join(folder, 'model.onnx'), 'graph!');
    await expect(verifyFiles(folder, manifest)).rejects.toThrow(/model\.onnx has 6 bytes where manifest\.json says 5/);
    await rm(join(folder, 'model.onnx'));
    await expect(verifyFiles(folder, manifest)).rejects.toThrow(/model\.onnx is listed in manifest\.json but missing/);
  });
});

describe('the fingerprint', () => {
  it('is the SHA-256 of one line a file, pooling, normalization and length', () => {
    const hash = (name: string) => manifest.files[name]?.sha256;
    const text =
      `file:model.onnx:${hash('model.onnx')}\nfile:tokenizer.json:${hash('tokenizer.json')}\n` +
      `file:tokenizer_config.json:${hash('tokenizer_config.json')}\n` +
      'pooling:ata:0.500000\nnormalize:true\nmaxTokens:512\n';
    expect(manifestFingerprint(manifest)).toBe(createHash('sha256').update(text).digest('hex'));
  });

  it('changes with what moves a vector, and with nothing else', () => {
    const moved: Partial<Manifest>[] = [
      { pooling: { mode: 'ata', gamma: 0.500001 } },
      { pooling: { mode: 'mean' } },
      { normalize: false },
      { maxTokens: 511 },
      { files: { ...manifest.files, 'model.onnx_data': { sha256: '0'.repeat(64), bytes: 1 } } },
    ];
    const prints = moved.map((change) => manifestFingerprint({ ...manifest, ...change }));
    expect(new Set([...prints, manifest.fingerprint]).size).toBe(moved.length + 1);
    const renamed = { ...manifest, name: 'other', prompts: { query: '', document: '' }, evaluation: [] };
    expect(manifestFingerprint(renamed)).toBe(manifest.fingerprint);
  });
});
