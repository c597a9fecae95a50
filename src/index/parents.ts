/** Gathers found chunks under their documents. Pure. */
import type { StoredDocument } from './document-reader.js';
import type { SearchResult } from './search-types.js';

export interface FoundChunk extends SearchResult {
  readonly parent: string;
}

export interface ParentGroup {
  readonly id: string;
  /** Its best chunk's, or its own where it has no chunks. */
  readonly best: SearchResult;
  /** Best first. */
  readonly chunks: readonly FoundChunk[];
}

/** @param results best first. @returns one group a document, best first, at most `k` of them with `chunksMax` chunks each. */
export function groupByParent(results: readonly SearchResult[], k: number, chunksMax: number): ParentGroup[] {
  const groups = new Map<string, { id: string; best: SearchResult; chunks: FoundChunk[] }>();
  for (const result of results) {
    const id = result.parent ?? result.id;
    const group = groups.get(id) ?? { id, best: result, chunks: [] };
    groups.set(id, group);
    if (isChunk(result) && group.chunks.length < chunksMax) group.chunks.push(result);
  }
  return [...groups.values()].slice(0, k);
}

/** The document with the score of its best chunk. */
export function parentResult({ best, chunks }: ParentGroup, document: StoredDocument): SearchResult {
  const { denseScore, sparseScore } = best;
  return {
    ...document,
    score: best.score,
    ...(denseScore === undefined ? {} : { denseScore }),
    ...(sparseScore === undefined ? {} : { sparseScore }),
    chunks,
  };
}

const isChunk = (result: SearchResult): result is FoundChunk => result.parent !== undefined;
