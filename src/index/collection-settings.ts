/** What a collection is: its shape, chosen when it is made, and the model whose vectors it holds. */
import { AnchorageError } from '../errors.js';
import { metadataPath } from './filter.js';
import { DECLARED_INDEXES_MAX, DIMENSIONS_MAX, EF_CONSTRUCTION_MAX, M_MAX } from './limits.js';

export const QUANTIZATIONS = ['float32', 'int8', 'binary'] as const;
export type Quantization = (typeof QUANTIZATIONS)[number];

/** Which model made the vectors. Two models are the same only if their fingerprints are. */
export interface ModelIdentity {
  readonly fingerprint: string;
  /** name@version, for messages. */
  readonly id: string;
  readonly dimensions: number;
}

export interface CollectionOptions {
  /** Dimensions of the codes in memory: the model's, or fewer (Matryoshka); full vectors rescore either way. */
  readonly dimensions?: number;
  /** HNSW: links a node (M of the paper). */
  readonly m?: number;
  /** HNSW: candidates looked at while a node is linked. */
  readonly efConstruction?: number;
  /** What memory holds of a vector: full floats, one byte a dimension, or one bit. */
  readonly quantization?: Quantization;
  /** Candidates taken by codes for each result wanted, before full vectors rescore them. */
  readonly oversample?: number;
  /** Whether texts are indexed for BM25. */
  readonly fullText?: boolean;
  /** Metadata fields that filters often name: `metadata.lang`. */
  readonly indexes?: readonly string[];
  /** Recall@k that efSearch is tuned to while serving; absent: efSearch stays at its default. */
  readonly targetRecall?: number;
}

export interface CollectionSettings {
  readonly dimensions: number;
  readonly m: number;
  readonly efConstruction: number;
  readonly quantization: Quantization;
  readonly oversample: number;
  readonly fullText: boolean;
  readonly indexes: readonly string[];
  readonly targetRecall: number | undefined;
}

export const COLLECTION_NAME = /^[a-z0-9][a-z0-9._-]{0,99}$/;
/**
 * Candidates for each result. Of the ten nearest among 100,000 titles and abstracts (all-MiniLM-L6-v2, 384 dimensions), the
 * 200 nearest by bits held 98.4%, the 400 nearest 99.2%.
 */
const OVERSAMPLE: Readonly<Record<Quantization, number>> = { float32: 1, int8: 4, binary: 40 };
/**
 * The same of the first dimensions, divided by their share squared: the first 256 floats held 99.6% among 100, the first 128
 * 98.5% among 400. A model that was trained for it (Matryoshka) needs fewer.
 */
const OVERSAMPLE_SHORTENED_MIN = 4;
const OVERSAMPLE_MAX = 100;

const refuse = (field: string, message: string): AnchorageError =>
  new AnchorageError('VALIDATION', `${field}: ${message}`, { field });

/** The name is a folder of the data directory, on file systems that may not know capitals apart. */
export function checkCollectionName(name: string): string {
  if (COLLECTION_NAME.test(name)) return name;
  throw refuse('collection', 'a name is 1 to 100 of a-z, 0-9, ".", "_" and "-", and begins with a letter or digit');
}

/** Fills in what was left out. @throws AnchorageError VALIDATION naming the field and its bound. */
export function fillSettings(options: CollectionOptions, model: ModelIdentity): CollectionSettings {
  const quantization = options.quantization ?? 'float32';
  if (model.dimensions > DIMENSIONS_MAX) throw refuse('dimensions', `at most ${DIMENSIONS_MAX} are expected`);
  if (!QUANTIZATIONS.includes(quantization))
    throw refuse('quantization', `one of ${QUANTIZATIONS.join(', ')} is expected`);
  if (options.targetRecall !== undefined && !(options.targetRecall > 0 && options.targetRecall <= 1)) {
    throw refuse('targetRecall', 'above 0 and at most 1 is expected');
  }
  const dimensions = integer(options.dimensions ?? model.dimensions, 'dimensions', 1, model.dimensions);
  const oversample = options.oversample ?? usualOversample(quantization, dimensions / model.dimensions);
  return {
    quantization,
    dimensions,
    m: integer(options.m ?? 16, 'm', 2, M_MAX),
    efConstruction: integer(options.efConstruction ?? 200, 'efConstruction', 8, EF_CONSTRUCTION_MAX),
    oversample: integer(oversample, 'oversample', 1, OVERSAMPLE_MAX),
    fullText: options.fullText ?? true,
    indexes: checkIndexes(options.indexes ?? []),
    targetRecall: options.targetRecall,
  };
}

function usualOversample(quantization: Quantization, share: number): number {
  if (share === 1) return OVERSAMPLE[quantization];
  const whole = Math.max(OVERSAMPLE_SHORTENED_MIN, OVERSAMPLE[quantization]);
  return Math.min(OVERSAMPLE_MAX, Math.ceil(whole / share ** 2));
}

function checkIndexes(indexes: readonly string[]): readonly string[] {
  if (indexes.length > DECLARED_INDEXES_MAX) throw refuse('indexes', `at most ${DECLARED_INDEXES_MAX} are expected`);
  for (const [at, field] of indexes.entries()) {
    if (!field.startsWith('metadata.'))
      throw refuse(`indexes[${at}]`, 'a field of the metadata is expected: metadata.lang');
    metadataPath(field.slice('metadata.'.length), `indexes[${at}]`);
  }
  return [...new Set(indexes)];
}

function integer(value: number, field: string, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw refuse(field, `a whole number from ${min} to ${max} is expected`);
}

/** @throws AnchorageError MODEL_MISMATCH naming both models and the way out. */
export function refuseOtherModel(collection: string, held: ModelIdentity, offered: ModelIdentity): void {
  if (held.fingerprint === offered.fingerprint) return;
  throw new AnchorageError(
    'MODEL_MISMATCH',
    `Collection ${collection} holds vectors of ${held.id} (${held.fingerprint.slice(0, 12)}), the request is for ` +
      `${offered.id} (${offered.fingerprint.slice(0, 12)}); reindex the collection (POST /admin/jobs), or serve ${held.id} again`,
  );
}
