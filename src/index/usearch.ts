/**
 * Loads usearch, the one native library for vectors: its HNSW graphs and its exact scan. It is optional (prebuilt for
 * Linux and macOS; elsewhere it needs a compiler at installation): without it every search is exact, in JavaScript, and
 * collections.ts says so in the log.
 */
import { createRequire } from 'node:module';
import type * as Usearch from 'usearch';

let loaded: typeof Usearch | null | undefined;

/** @returns null where the library cannot be loaded on this machine. */
export function usearch(): typeof Usearch | null {
  if (loaded !== undefined) return loaded;
  try {
    loaded = createRequire(import.meta.url)('usearch') as typeof Usearch;
  } catch {
    loaded = null;
  }
  return loaded;
}
