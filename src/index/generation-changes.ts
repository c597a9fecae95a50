/**
 * How a collection changes its model while it serves: generations.ts has the steps; this is who takes them, in which order,
 * and what the rest of the server sees meanwhile.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { AnchorageError } from '../errors.js';
import type { Collection } from './collection.js';
import type { ModelIdentity } from './collection-settings.js';
import type { CollectionState } from './database.js';
import type { IndexThreads } from './index-threads.js';
import { NextGeneration } from './next-generation.js';
import type { Turns } from './turns.js';

/** A request that took a collection as live has embedded its query within this time. */
const RETIRE_AFTER_MS = 5_000;

export interface GenerationChangesOptions {
  readonly threads: IndexThreads;
  /** A collection that changes its generation is not deleted or put back meanwhile. */
  readonly turns: Turns;
  readonly has: (name: string) => boolean;
  /** @throws AnchorageError NOT_FOUND */
  readonly get: (name: string) => Collection;
  /** Puts the collection's new state in the place of the old object. */
  readonly replace: (old: Collection, state: CollectionState) => void;
  readonly warn: (collection: string, message: string) => void;
}

interface TakeOverSteps {
  readonly finish: (next: NextGeneration) => Promise<void>;
  readonly commit: () => Promise<void>;
}

export class GenerationChanges {
  private readonly options: GenerationChangesOptions;
  private readonly threads: IndexThreads;

  constructor(options: GenerationChangesOptions) {
    this.options = options;
    this.threads = options.threads;
  }

  /**
   * Begins a collection's next generation, for vectors of another model, or takes up the one that was begun for it or that
   * it can go back to. The present one serves on.
   * @throws AnchorageError NOT_FOUND; CONFLICT where another model's is being built.
   */
  async begin(name: string, model: ModelIdentity): Promise<NextGeneration> {
    return this.options.turns.take([name], async () => {
      const collection = this.options.get(name);
      const dimensions = dimensionsFor(collection, model);
      const state = await this.threads.writer.call('begin', { name, model, dimensions });
      const of = { name, generation: state.building!.generation };
      await this.threads.open(of);
      const next = new NextGeneration(of, model, this.threads);
      collection.buildsBeside(state, next);
      return next;
    });
  }

  /** Whether its collection builds it still: one that was deleted, or put back from a snapshot, does not. */
  isBeingBuilt(next: NextGeneration): boolean {
    return this.options.has(next.name) && this.options.get(next.name).next === next;
  }

  /** Gives up a generation that is being built; nothing happens where there is none. */
  async abandon(name: string): Promise<void> {
    const collection = this.options.get(name);
    const { building } = collection;
    if (!building) return;
    collection.buildsBeside(await this.threads.writer.call('forget', { name, role: 'building' }), undefined);
    await this.threads.close({ name, generation: building.generation }, true);
    await this.dropUnkept(name);
  }

  /** Lets go of the generation that could be gone back to. */
  async forgetPrevious(name: string): Promise<void> {
    const collection = this.options.get(name);
    collection.buildsBeside(await this.threads.writer.call('forget', { name, role: 'previous' }), collection.next);
    await this.dropUnkept(name);
  }

  /**
   * Lets next generations take over, all in one moment: upserts are held, `finish` hands in what came last, `commit` makes
   * it so (where it fails, nothing has changed), and every collection flips. Upserts that were held are refused with
   * MODEL_MISMATCH, as their vectors are the old model's; who holds the text embeds it again. The generation before is kept
   * to go back to. Those that are being built no more are passed over.
   * @throws AnchorageError CONFLICT where rows still wait for a vector after `finish`.
   */
  async takeOver(nexts: readonly NextGeneration[], steps: TakeOverSteps): Promise<void> {
    const names = nexts.map(({ name }) => name);
    const there = await this.options.turns.take(names, async () => {
      const left = nexts.filter((next) => this.isBeingBuilt(next));
      await this.takeOverTogether(left, steps);
      return left;
    });
    for (const { name } of there) await this.dropUnkept(name);
  }

  private async takeOverTogether(nexts: readonly NextGeneration[], { finish, commit }: TakeOverSteps): Promise<void> {
    const releases: (() => void)[] = [];
    try {
      for (const { name } of nexts) releases.push(await this.options.get(name).gate.hold());
      for (const next of nexts) {
        await finish(next);
        const { waiting } = await next.state();
        if (waiting === 0) continue;
        throw new AnchorageError(
          'CONFLICT',
          `${waiting} documents of ${next.name} have no vector of ${next.model.id} yet`,
        );
      }
      await commit();
      for (const next of nexts) await this.flip(next);
    } finally {
      for (const release of releases) release();
    }
  }

  private async flip({ name, generation }: NextGeneration): Promise<void> {
    const old = this.options.get(name);
    this.options.replace(old, await this.threads.writer.call('flip', { name, generation }));
    void this.retire(old);
  }

  /** Ends searches in a generation when nobody has asked for a while. */
  private async retire(old: Collection): Promise<void> {
    do await pause(RETIRE_AFTER_MS, undefined, { ref: false });
    while (old.searching > 0);
    try {
      const now = this.options.get(old.name);
      if (now.generation === old.generation || now.building?.generation === old.generation) return;
      await this.threads.close(old.of, true);
      await this.dropUnkept(old.name);
    } catch {
      // The collection, or the server, is being closed.
    }
  }

  /** In steps, between which writes go on; what is still searched in stays for now. Fails only where the disk refuses or the collection goes: a start does it again. */
  async dropUnkept(name: string): Promise<void> {
    try {
      while (await this.threads.writer.call('dropSome', { name, inUse: this.threads.generationsOf(name) }));
    } catch (error) {
      this.options.warn(name, `old vectors not dropped: ${(error as Error).message}`);
    }
  }
}

/** Fewer than the model's only where the collection was made so (Matryoshka), and never more than the model has. */
function dimensionsFor({ settings, model: old }: Collection, model: ModelIdentity): number {
  return settings.dimensions === old.dimensions ? model.dimensions : Math.min(settings.dimensions, model.dimensions);
}
