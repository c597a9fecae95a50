/**
 * Embeds the stored texts of a collection by another model, while it serves, and lets that generation take over. Where the
 * process ends half-way the vectors so far stay; the same call goes on after the last of them.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { AnchorageError } from '../errors.js';
import { passagesAt } from '../index/chunking.js';
import type { Collections } from '../index/collections.js';
import type { WaitingText } from '../index/document-reader.js';
import type { LabelledVector } from '../index/generations.js';
import type { NextGeneration } from '../index/next-generation.js';
import type { Embedder } from '../model/embedder.js';
import type { EmbedOptions } from '../model/embedding-types.js';
import { type Manifest, modelIdentity } from '../model/manifest.js';
import { promptFor } from '../model/prompts.js';
import type { ModelRegistry } from '../model/registry.js';
import { situatedVectors } from '../model/situated-vectors.js';

export interface ReindexOptions {
  readonly signal: AbortSignal;
  /** Rows with a vector of the new model, of all that are searchable. */
  readonly onProgress?: (progress: { filled: number; of: number }) => void;
  /** Bounds what re-embedding takes from other requests; absent: as fast as bulk work goes, behind queries. */
  readonly textsPerSecond?: number;
}

const GROUP_ROWS = 128;
const OVERLOADED_PAUSE_MS = 250;
const GRAPH_LOOK_EVERY_MS = 50;
/** Vectors that a search passes over exactly in a tenth of a millisecond: the graph may still lack them when it takes over. */
const BACKLOG_AT_TAKE_OVER = 1_000;

/**
 * Re-embeds one collection by a loaded model. Resolves when that model's vectors are searched.
 * @throws AnchorageError NOT_FOUND; CONFLICT where documents have no text; the signal's reason, after which the same call
 *   goes on where this one ended.
 */
export async function reindex(
  { collections, models }: { collections: Collections; models: ModelRegistry },
  { name, embedder }: { name: string; embedder: Embedder },
  options: ReindexOptions,
): Promise<void> {
  const { fingerprint } = collections.get(name).model;
  if (fingerprint === embedder.manifest.fingerprint) return;
  const old = await holdModel(models, fingerprint);
  try {
    const next = await buildNextGeneration(collections, { name, embedder }, options);
    const finish = (): Promise<void> => fill(next, embedder, { signal: options.signal });
    await collections.generations.takeOver([next], { finish, commit: async () => {} });
  } finally {
    if (old) models.release(old);
  }
}

/** Everything but the take-over: when this resolves, what is missing came in the last moments. */
export async function buildNextGeneration(
  collections: Collections,
  { name, embedder }: { name: string; embedder: Embedder },
  options: ReindexOptions,
): Promise<NextGeneration> {
  const next = await collections.generations.begin(name, modelIdentity(embedder.manifest));
  await refuseWithoutText(collections, next);
  await fill(next, embedder, options);
  while ((await next.backlog()) > BACKLOG_AT_TAKE_OVER) {
    await pause(GRAPH_LOOK_EVERY_MS, undefined, { signal: options.signal });
  }
  return next;
}

/** Embeds and hands in what waits, until nothing does. */
export async function fill(next: NextGeneration, embedder: Embedder, options: ReindexOptions): Promise<void> {
  const { signal, onProgress, textsPerSecond } = options;
  let { filled, waiting } = await next.state();
  onProgress?.({ filled, of: filled + waiting });
  for (;;) {
    signal.throwIfAborted();
    const started = performance.now();
    const rows = await next.waiting(GROUP_ROWS);
    if (rows.length === 0) return;
    await next.fill(await embedPatiently(next, { embedder, rows, signal }));
    filled += rows.length;
    waiting = Math.max(0, waiting - rows.length);
    onProgress?.({ filled, of: filled + waiting });
    if (textsPerSecond === undefined) continue;
    const rest = (rows.length / textsPerSecond) * 1000 - (performance.now() - started);
    if (rest > 0) await pause(rest, undefined, { signal });
  }
}

/** The model that made a collection's vectors, so that it can be searched meanwhile; undefined where it is on no disk here. */
async function holdModel(models: ModelRegistry, fingerprint: string): Promise<Embedder | undefined> {
  // One that is being retired will soon be gone: it is not enough that it answers now.
  if (models.live.manifest.fingerprint === fingerprint) return undefined;
  const versions = await models.list();
  const made = versions.find(({ manifest }) => manifest?.fingerprint === fingerprint);
  return made && models.hold(made.name, made.version);
}

async function refuseWithoutText(collections: Collections, next: NextGeneration): Promise<void> {
  const { count, id } = await next.withoutText();
  if (count === 0) return;
  await collections.generations.abandon(next.name);
  throw new AnchorageError(
    'CONFLICT',
    `${next.name} has documents with a vector and no text (${count}; one is ${id}), which ${next.model.id} cannot embed; ` +
      'delete them, send them with their texts, or deploy with index "map"',
  );
}

interface Rows {
  readonly embedder: Embedder;
  readonly rows: readonly WaitingText[];
  readonly signal: AbortSignal;
}

/** Other requests go first: where the queue is full, this waits. */
async function embedPatiently(next: NextGeneration, request: Rows): Promise<LabelledVector[]> {
  for (;;) {
    try {
      return await embedRows(next, request);
    } catch (error) {
      if (!(error instanceof AnchorageError) || error.code !== 'OVERLOADED') throw error;
      await pause(OVERLOADED_PAUSE_MS, undefined, { signal: request.signal });
    }
  }
}

/** In the order of the rows, without those whose document went meanwhile. */
async function embedRows(next: NextGeneration, { embedder, rows, signal }: Rows): Promise<LabelledVector[]> {
  const vectors = new Map<number, Float32Array>();
  const groups = new Map<string, WaitingText[]>();
  for (const row of rows) groups.set(wayOf(row), [...(groups.get(wayOf(row)) ?? []), row]);
  for (const group of groups.values()) {
    const { promptName, situated } = group[0]!.embeddedAs;
    const prompt = documentPrompt(promptName, embedder.manifest);
    const options: EmbedOptions = { lane: 'bulk', normalize: true, prompt, signal };
    const embedded = situated
      ? await embedSituated(next, { embedder, rows: group, options })
      : await embedWhole(embedder, group, options);
    for (const { label, vector } of embedded) vectors.set(label, vector);
  }
  return rows.flatMap(({ label }) => {
    const vector = vectors.get(label);
    return vector ? [{ label, vector }] : [];
  });
}

const wayOf = ({ embeddedAs, parent }: WaitingText): string =>
  `${embeddedAs.situated ? `situated ${parent}` : 'whole'} ${embeddedAs.promptName ?? ''}`;

/** A prompt that only the old model has stands for the new one's own. */
const documentPrompt = (name: string | undefined, manifest: Manifest): string =>
  promptFor('document', name !== undefined && Object.hasOwn(manifest.prompts, name) ? name : undefined, manifest);

async function embedWhole(
  embedder: Embedder,
  rows: readonly WaitingText[],
  options: EmbedOptions,
): Promise<LabelledVector[]> {
  const { vectors, dimensions } = await embedder.embed(
    rows.map(({ text }) => text!),
    options,
  );
  return rows.map(({ label }, row) => ({ label, vector: vectors.slice(row * dimensions, (row + 1) * dimensions) }));
}

/**
 * All chunks of one document see the same windows as when it was stored, also where only some of them wait. One that was
 * replaced since the rows were read has chunks of other labels.
 */
async function embedSituated(
  next: NextGeneration,
  { embedder, rows, options }: { embedder: Embedder; rows: readonly WaitingText[]; options: EmbedOptions },
): Promise<LabelledVector[]> {
  const { text, spans } = await next.cutText(rows[0]!.parent!);
  // It was deleted, or replaced by one without a text.
  if (text === undefined) return [];
  const tokens = (await embedder.tokenize([text], { addSpecialTokens: false }))[0]!;
  const passages = passagesAt(
    tokens.map(({ start }) => start!),
    spans,
  );
  const vectors = await situatedVectors(embedder, text, passages, options);
  return spans.map(({ label }, index) => ({ label, vector: vectors[index]! }));
}
