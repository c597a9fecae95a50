/**
 * How a model version takes the live one's place, with every collection behind it, while both reads and writes go on:
 *
 *   1. verify   hashes of every file and the parity that the export measured; the version is loaded and held
 *   2. shadow   the trainer judges both versions on the sets: held-out queries of the job, sets of the data directory
 *   3. gate     gate.ts decides; where it says no, nothing was changed
 *   4. build    every collection of the live model gets a generation of the new one's vectors, from its stored texts; or,
 *               where that was asked for, a map from the new model's queries to the vectors that it keeps (query-drift.ts)
 *   5. compare  a sample of live queries is answered by both generations: how much changes, and what the new graphs find
 *   6. flip     writes are held for a moment, what came last is embedded, and then ONE commit: the entry `live` of
 *               live-model.ts. After it the embedder is promoted and each collection flips
 *   7. settle   what was made meanwhile follows, the old model is let go, the old generation kept or dropped
 *
 * A collection that is deleted meanwhile is passed over; one that is made anew or put back is looked at again.
 *
 * What a crash leaves: before the commit of step 6 the old model and its generations serve, and the job goes on with what
 * was built; after it, the start loads the new model and flips the generations that are whole (collections.ts) before
 * anything is answered, and the job goes on with step 7. An answer is always of one model: a request has its collection and
 * its embedder from one look (server/live-collection.ts).
 *
 * Going back is the same way with the version before: its generation was kept, so only what was written since is embedded.
 */
import { writeFile } from 'node:fs/promises';
import type { Collection } from '../index/collection.js';
import type { NextGeneration } from '../index/next-generation.js';
import type { Embedder } from '../model/embedder.js';
import { modelId } from '../model/manifest.js';
import { artifactPath } from './data-path.js';
import { type Comparison, evaluate } from './evaluation.js';
import { decide, gateOf, type Verdict } from './gate.js';
import type { Json } from './job.js';
import type { JobContext } from './job-context.js';
import { commitLive } from './live-model.js';
import { compareAnswers } from './live-queries.js';
import { mapQueries } from './map-queries.js';
import type { DeployParams } from './params.js';
import { checkParity } from './parity.js';
import { buildNextGeneration, fill, reindex } from './reindex.js';

export interface DeploymentRequest extends Omit<DeployParams, 'sets'> {
  /** Absolute folders, each perhaps with `:split`. */
  readonly sets: readonly string[];
}

export type DeploymentOutcome = 'flipped' | 'refused';
type Range = readonly [number, number];

/** @throws JobFailure, AnchorageError: the old model serves on, and what was built is given up. */
export async function deploy(
  context: JobContext,
  request: DeploymentRequest,
  range: Range,
): Promise<DeploymentOutcome> {
  const { parts } = context;
  const outcome = await parts.turn.take(context.job.id, context.signal, () => inTurn(context, request, range));
  parts.metrics.deployments.inc({ outcome });
  return outcome;
}

async function inTurn(context: JobContext, request: DeploymentRequest, [from, to]: Range): Promise<DeploymentOutcome> {
  const part = (start: number, end: number): Range => [from + start * (to - from), from + end * (to - from)];
  const { models, collections } = context.parts;
  const { old, oldFingerprint } = await context.step('deploy: begin', part(0, 0), async () => ({
    old: modelId(models.live.manifest),
    oldFingerprint: models.live.manifest.fingerprint,
  }));
  const candidate = await context.step('deploy: 1 verify', part(0, 0.05), () => verify(context, request.model));
  const next = await hold(context, request.model);
  try {
    if (modelId(models.live.manifest) !== request.model) {
      const comparisons = await context.step('deploy: 2 shadow', part(0.05, 0.4), () => shadow(context, request, old));
      const verdict = await context.step('deploy: 3 gate', part(0.4, 0.4), async () => ({
        ...decide(comparisons.comparisons as Comparison[], gateOf(request.gate)),
      }));
      await report(context, { model: request.model, before: old, candidate, ...comparisons, verdict });
      if (!(verdict as unknown as Verdict).passes) {
        models.release(next);
        return 'refused';
      }
      const { built, maps } = await build(context, request, { next, range: part(0.4, 0.9) });
      const { answers } = await context.step('deploy: 5 compare', part(0.9, 0.95), () =>
        compareAnswers(context, next, built),
      );
      await report(context, { model: request.model, before: old, candidate, ...comparisons, verdict, answers, maps });
      context.at('deploy: 6 flip');
      await flip(context, { next, built, previous: request.keepPrevious ? old : undefined });
    }
  } catch (error) {
    // A server that stops takes up what was built; a failure or a cancelled job does not come back for it.
    if (context.signal.reason !== 'shutdown') await giveUp(context, next);
    throw error;
  }
  await context.step('deploy: 7 settle', part(0.95, 1), async () => {
    if (request.index === 'reindex') await followUp(context, next, old);
    if (!request.keepPrevious) {
      for (const collection of collections.list()) {
        if (collection.previous?.model.id !== old) continue;
        await whileThere(context, collection, () => collections.generations.forgetPrevious(collection.name));
      }
    }
    return { live: request.model };
  });
  letGo(context, oldFingerprint);
  context.made({ live: request.model, previous: request.keepPrevious ? old : null });
  return 'flipped';
}

/** Step 1. Embedder.load holds every file to its SHA-256. */
async function verify(context: JobContext, id: string): Promise<Json> {
  const { models } = context.parts;
  const { manifest } = await hold(context, id);
  const { dimensions: before } = models.live.manifest;
  return {
    fingerprint: manifest.fingerprint,
    parity: checkParity(manifest),
    dimensions: manifest.dimensions,
    dimensionsBefore: before,
  };
}

function hold({ parts }: JobContext, id: string): Promise<Embedder> {
  const [name = '', version = ''] = id.split('@');
  return parts.models.hold(name, version);
}

/** Step 2. Nothing is judged where nothing is to be decided. */
async function shadow(
  context: JobContext,
  request: DeploymentRequest,
  old: string,
): Promise<{ comparisons: Comparison[] }> {
  const { sets, queriesMax, documentsMax } = request;
  if (sets.length === 0) return { comparisons: [] };
  const output = context.path('shadow');
  return {
    comparisons: await evaluate(context, { models: [old, request.model], sets, queriesMax, documentsMax, output }),
  };
}

interface Building {
  readonly next: Embedder;
  readonly range: Range;
}

interface Built {
  readonly built: readonly NextGeneration[];
  /** What is known of each map, by collection. */
  readonly maps: Json[];
}

/** Step 4: every collection whose vectors are the live model's, one after the other. Those of other models stay as they are. */
async function build(context: JobContext, request: DeploymentRequest, building: Building): Promise<Built> {
  if (request.index === 'map') return { built: [], maps: await mapAll(context, building) };
  return { built: await buildAll(context, request, building), maps: [] };
}

async function mapAll(context: JobContext, { next, range }: Building): Promise<Json[]> {
  const { collections, models } = context.parts;
  const { fingerprint } = models.live.manifest;
  const pending = collections.list().filter(({ model }) => model.fingerprint === fingerprint);
  const maps: Json[] = [];
  for (const [at, collection] of pending.entries()) {
    const { name } = collection;
    context.throwIfStopped();
    context.within(range, () => context.at(`deploy: 4 map ${name}`, at / pending.length));
    const facts = await whileThere(context, collection, () =>
      mapQueries(collections, { name, embedder: next }, context),
    );
    if (!facts) continue;
    const { method, fittedFrom, heldOut } = facts;
    maps.push({ collection: name, method, fittedFrom, heldOut: { ...heldOut } });
  }
  return maps;
}

async function buildAll(
  context: JobContext,
  request: DeploymentRequest,
  { next, range }: Building,
): Promise<NextGeneration[]> {
  const { collections, models } = context.parts;
  const built: NextGeneration[] = [];
  const { fingerprint } = models.live.manifest;
  const isBuilt = ({ next: building }: Collection): boolean => building !== undefined && built.includes(building);
  const pending = () => collections.list().filter((one) => one.model.fingerprint === fingerprint && !isBuilt(one));
  const total = Math.max(1, pending().length);
  // Again until none is left: collections may be made meanwhile.
  for (let left = pending(); left.length > 0; left = pending()) {
    for (const collection of left) {
      const { name } = collection;
      context.throwIfStopped();
      const of = { name, embedder: next };
      const onProgress = ({ filled, of: all }: { filled: number; of: number }): void => {
        const share = Math.min(1, (built.length + filled / Math.max(1, all)) / total);
        context.within(range, () => context.at(`deploy: 4 build ${name}`, share, null, { filled, of: all }));
      };
      const { signal } = context;
      const pace = request.textsPerSecond === undefined ? {} : { textsPerSecond: request.textsPerSecond };
      const generation = await whileThere(context, collection, () =>
        buildNextGeneration(collections, of, { signal, onProgress, ...pace }),
      );
      if (generation) built.push(generation);
    }
  }
  return built;
}

interface Flip {
  readonly next: Embedder;
  readonly built: readonly NextGeneration[];
  /** What can be gone back to. */
  readonly previous: string | undefined;
}

/** Step 6. */
async function flip(context: JobContext, { next, built, previous }: Flip): Promise<void> {
  const { collections, config, models, store } = context.parts;
  const { signal, job } = context;
  await collections.generations.takeOver(built, {
    finish: (generation) => fill(generation, next, { signal }),
    commit: async () => {
      signal.throwIfAborted();
      const entry = { configured: config.model, model: modelId(next.manifest), previous, job: job.id };
      await commitLive(store, entry);
      models.promote(next);
    },
  });
}

/** Step 7: a collection that was made, or put back from a snapshot, after the last look of step 4. */
async function followUp(context: JobContext, next: Embedder, old: string): Promise<void> {
  const { collections, models } = context.parts;
  for (const collection of collections.list()) {
    const { name, model } = collection;
    if (model.id !== old) continue;
    context.at(`deploy: 7 settle ${name}`);
    await whileThere(context, collection, () =>
      reindex({ collections, models }, { name, embedder: next }, { signal: context.signal }),
    );
  }
}

/** Requests that have the old model still are answered by it. */
function letGo({ parts: { logger, models } }: JobContext, fingerprint: string): void {
  const old = models.of(fingerprint);
  if (old && old !== models.live) models.release(old);
  logger?.info({ live: modelId(models.live.manifest) }, 'a model was deployed');
}

/** What a deployment that did not happen had built. */
async function giveUp(context: JobContext, next: Embedder): Promise<void> {
  const { collections, models } = context.parts;
  if (models.live === next) return;
  for (const collection of collections.list()) {
    if (collection.building?.model.fingerprint !== next.manifest.fingerprint) continue;
    await whileThere(context, collection, () => collections.generations.abandon(collection.name));
  }
  models.release(next);
}

/** Work on a collection; undefined where it was deleted, or put back from a snapshot, before the work was done. */
async function whileThere<Result>(
  { parts: { collections } }: JobContext,
  collection: Collection,
  work: () => Promise<Result>,
): Promise<Result | undefined> {
  const isThere = (): boolean => collections.list().includes(collection);
  if (!isThere()) return undefined;
  try {
    return await work();
  } catch (error) {
    if (isThere()) throw error;
    return undefined;
  }
}

/** The figures of a deployment, in the job and as a file. */
async function report(context: JobContext, figures: Json): Promise<void> {
  const file = context.path('deployment.json');
  await writeFile(file, `${JSON.stringify(figures, null, 2)}\n`);
  context.measured({ deployment: figures });
  context.made({ report: artifactPath(context.parts.config.dataDir, file) });
}
