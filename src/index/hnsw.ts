/**
 * The HNSW graph (Malkov and Yashunin, arXiv 1603.09320) of usearch. This is the only file that touches it.
 *
 * Always true: it is a cache, of which nothing is believed: what it finds is looked up among the live labels and scored
 * again. Nodes are only ever added. A label that is gone leaves its node behind as a tombstone, which goes on routing, until
 * the graph is built anew: usearch's own removal gives the slot to a later addition, after which nodes were unreachable, and
 * after 20,000 replacements in a graph of 400 a search did not return (usearch 2.25.3).
 *
 * Nodes are bytes, or bits where the collection's codes are: full vectors score what a walk finds, so nodes only have to be
 * right about which few dozen are near, and narrower ones are walked and built faster. docs/decisions has the measurement.
 */
import type { Index } from 'usearch';
import { AnchorageError } from '../errors.js';
import { firstDimensions, int8Scale } from './codes.js';
import type { Quantization } from './collection-settings.js';
import { usearch } from './usearch.js';

export interface GraphShape {
  readonly dimensions: number;
  readonly quantization: Quantization;
  readonly m: number;
  readonly efConstruction: number;
}

const NODE_SCALARS: Readonly<Record<Quantization, 'i8' | 'b1'>> = {
  float32: 'i8',
  int8: 'i8',
  binary: 'b1',
};
const NODE_BITS = { i8: 8, b1: 1 } as const;

export const graphsAreAvailable = (): boolean => usearch() !== null;

export class HnswGraph {
  readonly shape: GraphShape;
  private readonly index: Index;

  constructor(shape: GraphShape) {
    const library = usearch();
    if (library === null) throw new AnchorageError('INTERNAL', 'usearch is not loaded; graphs cannot be built');
    const scalar = NODE_SCALARS[shape.quantization];
    this.shape = shape;
    this.index = new library.Index({
      dimensions: shape.dimensions,
      metric: (scalar === 'b1' ? 'hamming' : 'ip') as never,
      quantization: scalar as never,
      connectivity: shape.m,
      expansion_add: shape.efConstruction,
      // The breadth of a search is max(this, results wanted): asking for efSearch results sets it, query by query.
      expansion_search: 1,
      multi: false,
    });
  }

  /** Tombstones included. */
  get nodes(): number {
    return this.index.size();
  }

  /** Nodes with their links at level 0 (2 m of 4 bytes) and the mean of those above; keys of 8 bytes. */
  get bytes(): number {
    const { dimensions, m, quantization } = this.shape;
    const node = (dimensions * NODE_BITS[NODE_SCALARS[quantization]]) / 8 + 2 * m * 4 + 4 * 4 + 8;
    return Math.round(this.nodes * node);
  }

  /** @param vector of length 1, with at least the graph's dimensions. */
  add(label: number, vector: Float32Array): void {
    this.index.add(BigInt(label), this.node(vector), 1);
  }

  /** @returns up to `efSearch` labels, nearest first as far as the nodes' scalars can tell. */
  search(vector: Float32Array, efSearch: number): number[] {
    if (this.nodes === 0) return [];
    const { keys } = this.index.search(this.node(vector), efSearch, 1);
    return Array.from(keys, Number);
  }

  /** Writes usearch's own format, in place and without fsync: snapshot.ts makes it safe. */
  save(path: string): void {
    this.index.save(path);
  }

  /** @param path a file whose checksum was verified: usearch believes what it reads. */
  static load(path: string, shape: GraphShape): HnswGraph {
    const graph = new HnswGraph(shape);
    graph.index.load(path);
    return graph;
  }

  /** What usearch is given: its range of a byte, [-1, 1], is made to span the components as codes.ts does. */
  private node(vector: Float32Array): Float32Array {
    const short = firstDimensions(vector, this.shape.dimensions);
    if (NODE_SCALARS[this.shape.quantization] === 'b1') return short;
    const scale = int8Scale(this.shape.dimensions);
    return short.map((value) => Math.max(-1, Math.min(1, value * scale)));
  }
}
