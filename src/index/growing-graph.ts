/** A graph that is catching up with the rows: what it holds, and the live labels that it does not hold yet. */
import type { HnswGraph } from './hnsw.js';

/** Labels whose vectors are fetched and inserted at once; then the clock is looked at. */
const STEP_LABELS = 8;

export class GrowingGraph {
  readonly graph: HnswGraph;
  /** Live labels not in the graph, oldest first. A search looks at them exactly. */
  readonly backlog: Set<number>;

  constructor(graph: HnswGraph, backlog: Iterable<number>) {
    this.graph = graph;
    this.backlog = new Set(backlog);
  }

  /**
   * Inserts from the backlog until it is empty or the time is over.
   * @param vectorsOf the vectors of some labels; one that is missing is no longer live.
   */
  advance(untilMs: number, vectorsOf: (labels: number[]) => Map<number, Float32Array>): void {
    while (this.backlog.size > 0 && performance.now() < untilMs) {
      const labels = firstOf(this.backlog, STEP_LABELS);
      const vectors = vectorsOf(labels);
      for (const label of labels) {
        const vector = vectors.get(label);
        if (vector) this.graph.add(label, vector);
        this.backlog.delete(label);
      }
    }
  }
}

function firstOf(labels: Set<number>, count: number): number[] {
  const first: number[] = [];
  for (const label of labels) {
    first.push(label);
    if (first.length === count) break;
  }
  return first;
}
