/**
 * manifest.json, the identity of a model version folder `models/<name>/<version>/`.
 *
 * Invariants: a folder never changes once its manifest is written; every file that the model is made of is listed
 * with its SHA-256; the fingerprint covers everything that can move a vector (graph, tokenizer, pooling,
 * normalization, length), so two folders with one fingerprint give the same embeddings.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import { AnchorageError } from '../errors.js';

export const MANIFEST_FILE = 'manifest.json';

/** Model names and versions: they are folder names and parts of URLs. */
export const MODEL_NAME_PATTERN = '^[a-z0-9][a-z0-9._-]{0,99}$';

/** Files lie directly in the version folder, so a manifest can never point outside of it. */
const FILE_NAME_PATTERN = '^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$';
const SHA256_PATTERN = '^[0-9a-f]{64}$';
const REQUIRED_FILES = ['model.onnx', 'tokenizer.json', 'tokenizer_config.json'];

const closed = { additionalProperties: false } as const;

export const ManifestPooling = Type.Union([
  Type.Object({ mode: Type.Literal('ata'), gamma: Type.Number({ minimum: 0, maximum: 16 }) }, closed),
  Type.Object({ mode: Type.Enum(['mean', 'cls', 'last', 'graph']) }, closed),
]);

export const ManifestSchema = Type.Object(
  {
    schemaVersion: Type.Literal(1),
    name: Type.String({ pattern: MODEL_NAME_PATTERN }),
    version: Type.String({ pattern: MODEL_NAME_PATTERN }),
    /** Class of the encoder as config.json names it, or "unknown". */
    architecture: Type.String({ minLength: 1 }),
    /** Length of the embedding. */
    dimensions: Type.Integer({ minimum: 1 }),
    /** Shorter lengths that the model was trained to be cut to; empty where it was not. */
    matryoshkaDimensions: Type.Array(Type.Integer({ minimum: 1 })),
    /** Longest input in tokens, special tokens included. */
    maxTokens: Type.Integer({ minimum: 1 }),
    pooling: ManifestPooling,
    /** Whether embeddings are divided by their Euclidean length. */
    normalize: Type.Boolean(),
    /** The graph's inputs that are to be fed, each int64 [batch, tokens]. */
    inputs: Type.Array(Type.String({ minLength: 1 }), { minItems: 1 }),
    /** What the graph calls its outputs. */
    outputs: Type.Object(
      {
        /** [batch, tokens, hidden] */
        hiddenStates: Type.Optional(Type.String({ minLength: 1 })),
        /** [batch, tokens]: the last layer's attention summed over heads and over queries that are not padding. */
        receivedAttention: Type.Optional(Type.String({ minLength: 1 })),
        /** [batch, heads, tokens, tokens]: the last layer's attention, not reduced. */
        attentions: Type.Optional(Type.String({ minLength: 1 })),
        /** [batch, dimensions], pooled by the graph itself. */
        sentenceEmbedding: Type.Optional(Type.String({ minLength: 1 })),
      },
      closed,
    ),
    /**
     * Layers after which a text may leave the model, and the lengths that its vector may have there, the longest first. The
     * graph then has one more input, `layers` [1]: it computes all layers where that is none of these.
     */
    exits: Type.Optional(
      Type.Array(
        Type.Object(
          {
            layers: Type.Integer({ minimum: 1 }),
            dimensions: Type.Array(Type.Integer({ minimum: 1 }), { minItems: 1 }),
          },
          closed,
        ),
        { minItems: 1 },
      ),
    ),
    padTokenId: Type.Integer({ minimum: 0 }),
    paddingSide: Type.Enum(['right', 'left']),
    /** Text put before an input, by task; `query` and `document` are always there. */
    prompts: Type.Intersect([
      Type.Object({ query: Type.String(), document: Type.String() }),
      Type.Record(Type.String(), Type.String()),
    ]),
    /** "float32", "float16", "int8" (batch-invariant), "int8-dynamic", or another short word. */
    quantization: Type.String({ minLength: 1, maxLength: 40 }),
    /** Whether a text keeps its vector (cosine of at least 0.9999) whatever shares its batch. */
    batchInvariant: Type.Boolean(),
    files: Type.Record(
      Type.String({ pattern: FILE_NAME_PATTERN }),
      Type.Object({ sha256: Type.String({ pattern: SHA256_PATTERN }), bytes: Type.Integer({ minimum: 0 }) }, closed),
      closed,
    ),
    fingerprint: Type.String({ pattern: SHA256_PATTERN }),
    /** Where the model came from: origin, license, tool, and whatever else is worth keeping. */
    source: Type.Record(Type.String(), Type.String()),
    evaluation: Type.Array(
      Type.Intersect([
        Type.Object({ set: Type.String(), metric: Type.String(), value: Type.Number() }),
        Type.Record(Type.String(), Type.Unknown()),
      ]),
    ),
  },
  closed,
);

export type Manifest = Static<typeof ManifestSchema>;

/**
 * SHA-256 (hex) over everything that can move a vector: one line a file in byte order of the names, then pooling,
 * normalization and length. The trainer computes the same text in Python, so the layout must not change.
 */
export function manifestFingerprint(manifest: Pick<Manifest, 'files' | 'pooling' | 'normalize' | 'maxTokens'>): string {
  const { pooling } = manifest;
  const gamma = pooling.mode === 'ata' ? pooling.gamma.toFixed(6) : '-';
  const lines = Object.keys(manifest.files)
    .sort()
    .map((file) => `file:${file}:${manifest.files[file]?.sha256}\n`);
  lines.push(`pooling:${pooling.mode}:${gamma}\n`, `normalize:${manifest.normalize}\n`);
  lines.push(`maxTokens:${manifest.maxTokens}\n`);
  return createHash('sha256').update(lines.join(''), 'utf8').digest('hex');
}

/**
 * Reads and validates `<folder>/manifest.json`. The last two parts of the folder's path must be the manifest's name
 * and version. File contents are not read: see verifyFiles.
 */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, MANIFEST_FILE);
  const manifest = parse(path, await readText(path));
  const place = resolve(folder);
  const expected = `${basename(dirname(place))}/${basename(place)}`;
  if (`${manifest.name}/${manifest.version}` !== expected) {
    throw invalid(path, `is of ${manifest.name}/${manifest.version} but lies in a folder named ${expected}`);
  }
  return manifest;
}

/** Compares size and SHA-256 of every listed file with the manifest, reading each file once in pieces. */
export async function verifyFiles(folder: string, manifest: Manifest): Promise<void> {
  for (const [file, expected] of Object.entries(manifest.files)) {
    const path = join(folder, file);
    const found = await describeFile(path).catch((error: NodeJS.ErrnoException) => {
      throw invalid(path, error.code === 'ENOENT' ? 'is listed in manifest.json but missing' : error.message);
    });
    if (found.bytes !== expected.bytes) {
      throw invalid(path, `has ${found.bytes} bytes where manifest.json says ${expected.bytes}`);
    }
    if (found.sha256 !== expected.sha256) {
      throw invalid(path, `has SHA-256 ${found.sha256} where manifest.json says ${expected.sha256}`);
    }
  }
}

/** Size and SHA-256 (hex) of a file, as an entry of `files`. */
export async function describeFile(path: string): Promise<Manifest['files'][string]> {
  const hash = createHash('sha256');
  const { size } = await stat(path);
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return { sha256: hash.digest('hex'), bytes: size };
}

/** Writes `<folder>/manifest.json` durably; refuses to replace one, because versions never change. */
export async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const path = join(folder, MANIFEST_FILE);
  check(path, manifest);
  const keys = Object.keys(ManifestSchema.properties) as (keyof Manifest)[];
  const ordered = Object.fromEntries(keys.map((key) => [key, manifest[key]]));
  const file = await open(path, 'wx');
  try {
    await file.writeFile(`${JSON.stringify(ordered, null, 2)}\n`, 'utf8');
    await file.sync();
  } finally {
    await file.close();
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw invalid(path, code === 'ENOENT' ? 'is missing: this is not a model version folder' : message);
  }
}

function parse(path: string, text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(path, `is not JSON: ${(error as Error).message}`);
  }
  return check(path, value);
}

function check(path: string, value: unknown): Manifest {
  if (!Value.Check(ManifestSchema, value)) throw invalid(path, firstFault(value));
  const missing = REQUIRED_FILES.filter((file) => !(file in value.files));
  if (missing.length > 0) throw invalid(path, `lists no ${missing.join(', ')} under files`);
  const output = missingOutput(value);
  if (output) throw invalid(path, `pools by ${value.pooling.mode} but names no output ${output}`);
  const fingerprint = manifestFingerprint(value);
  if (value.fingerprint !== fingerprint) {
    throw invalid(path, `has fingerprint ${value.fingerprint} where its contents give ${fingerprint}`);
  }
  return value;
}

/** The output that the manifest's pooling reads and that the graph is not said to have. */
function missingOutput({ pooling, outputs }: Manifest): string | undefined {
  if (pooling.mode === 'graph') return outputs.sentenceEmbedding ? undefined : 'sentenceEmbedding';
  if (!outputs.hiddenStates) return 'hiddenStates';
  if (pooling.mode === 'ata' && !outputs.receivedAttention && !outputs.attentions) return 'receivedAttention';
  return undefined;
}

function firstFault(value: unknown): string {
  const errors = Value.Errors(ManifestSchema, value);
  const unknown = errors.find((error) => error.keyword === 'additionalProperties' && !inUnion(error.schemaPath));
  if (unknown?.keyword === 'additionalProperties') {
    const keys = unknown.params.additionalProperties.join(', ');
    return `has unknown keys ${unknown.instancePath ? `in ${unknown.instancePath.slice(1)}: ` : ''}${keys}`;
  }
  const error = errors.find(({ schemaPath, keyword }) => keyword !== 'boolean' && !inUnion(schemaPath)) ?? errors[0];
  if (error?.instancePath === '/pooling' && error.keyword === 'anyOf') {
    return 'has a pooling that is neither {"mode": "ata", "gamma": 0 to 16} nor {"mode": "mean", "cls", "last" or "graph"}';
  }
  if (error?.instancePath === '/schemaVersion') return 'has a schemaVersion other than 1, the one this release reads';
  return `is invalid: ${error?.instancePath.slice(1) || 'it'} ${error?.message ?? 'does not match'}`;
}

const inUnion = (schemaPath: string): boolean => schemaPath.includes('/anyOf/');

function invalid(path: string, problem: string): AnchorageError {
  return new AnchorageError('MODEL_INVALID', `${path} ${problem}`);
}

/** name@version */
export const modelId = ({ name, version }: Pick<Manifest, 'name' | 'version'>): string => `${name}@${version}`;

/** What a collection keeps of the model that made its vectors. */
export const modelIdentity = (manifest: Manifest): { fingerprint: string; id: string; dimensions: number } => ({
  fingerprint: manifest.fingerprint,
  id: modelId(manifest),
  dimensions: manifest.dimensions,
});
