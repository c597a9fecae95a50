/**
 * Reads the weights out of a graph that the trainer exported in static int8 (trainer/export/int8_graph.py), for the encoder
 * in native/. A graph is known by the operators that it lists, from first to last: any other is left to ONNX Runtime.
 *
 * Two things of the graph are left behind, because they are there for ONNX Runtime only: the channel a head that carries
 * the padding mask (native code has no padding), and branches for exits (native code stops after a layer when told to).
 */
import { fromBinary } from '@bufbuild/protobuf';
import {
  TensorProto_DataType as DataType,
  type GraphProto,
  ModelProtoSchema,
  type NodeProto,
  type TensorProto,
} from './import/onnx_pb.js';
import { attribute } from './import/onnx-graph.js';

/** How values become codes: clamp(round(value * multipliers) + zeroPoint, 0, 255). */
export interface Rounding {
  /** [channels] */
  readonly multipliers: Float32Array;
  readonly zeroPoint: number;
}

/** codes [inputs, outputs] of the weight; what comes out is the integer product times scales, plus bias. [outputs] */
export interface Int8Linear {
  readonly codes: Int8Array;
  readonly scales: Float32Array;
  readonly bias: Float32Array;
}

/** [hidden] each. */
export interface NormWeights {
  readonly scale: Float32Array;
  readonly bias: Float32Array;
}

export interface Int8Layer {
  readonly hidden: Rounding;
  /** Query, key and value: [hidden, 3 hidden]. */
  readonly projection: Int8Linear;
  readonly context: Rounding;
  readonly attentionOutput: Int8Linear;
  readonly attentionNorm: NormWeights;
  readonly attended: Rounding;
  readonly intermediate: Int8Linear;
  readonly widened: Rounding;
  readonly output: Int8Linear;
  readonly outputNorm: NormWeights;
}

export interface Int8Encoder {
  readonly vocabulary: number;
  readonly positions: number;
  readonly hidden: number;
  readonly heads: number;
  /** Width of the feed-forward networks. */
  readonly wide: number;
  readonly epsilon: number;
  /** [vocabulary, hidden] */
  readonly words: Int8Array;
  /** [vocabulary] */
  readonly wordSteps: Float32Array;
  /** Positions and token type 0, added: [positions, hidden]. */
  readonly positionRows: Float32Array;
  readonly embeddingNorm: NormWeights;
  /** Of received attention, [heads]; absent: all 1. */
  readonly headWeights?: Float32Array | undefined;
  readonly layers: readonly Int8Layer[];
}

const PRODUCER = 'anchorage-trainer';
/** Operators in order; those with a question mark may be missing. */
const ROUND = 'Mul? QuantizeLinear';
const PRODUCT = 'MatMulIntegerToFloat';
const NORM = 'Sum LayerNormalization';
const POSITIONS = 'Cast Sub Unsqueeze Mul Shape Gather Slice';
const WORDS = `Gather Cast Gather Mul Add ${NORM}`;
const PROJECTION = `${ROUND} ${PRODUCT} ${PRODUCT} ${PRODUCT} Add Equal? If?`;
const CLOSED_ATTENTION = 'MultiHeadAttention';
const OPEN_ATTENTION =
  'Reshape Transpose Reshape Transpose MatMul Softmax Unsqueeze MatMul Mul? ReduceSum Mul Reshape Transpose MatMul Transpose Reshape';
const FEED_FORWARD = `${ROUND} ${PRODUCT} ${NORM} ${ROUND} ${PRODUCT} Gelu ${ROUND} ${PRODUCT} ${NORM}`;
const closedLayer = `${PROJECTION} ${CLOSED_ATTENTION} ${FEED_FORWARD}`.split(' ');
const openLayer = `${PROJECTION} ${OPEN_ATTENTION} ${FEED_FORWARD}`.split(' ');

const PRODUCTS_A_LAYER = 6;
const ROUNDINGS_A_LAYER = 4;
const NORMS_A_LAYER = 2;

/** The weights in the bytes of an ONNX file, partly views of them; undefined where the graph is not of the known form. */
export function readStaticInt8(bytes: Uint8Array): Int8Encoder | undefined {
  const model = fromBinary(ModelProtoSchema, bytes);
  if (model.producerName !== PRODUCER || !model.graph) return undefined;
  const nodes = [...deepest(model.graph)];
  if (!isBert(nodes.map(({ opType }) => opType))) return undefined;
  return new Graph(nodes, model.graph.initializer).encoder();
}

/** Whether these are all operators of a BERT encoder, in order: closed layers, and the last one with its attention spelled out. */
function isBert(operators: readonly string[]): boolean {
  const withTypes = follow(operators, 0, `${POSITIONS} Gather ${WORDS}`.split(' '));
  let at = withTypes ?? follow(operators, 0, `${POSITIONS} ${WORDS}`.split(' '));
  if (at === undefined) return false;
  for (let next = follow(operators, at, closedLayer); next !== undefined; next = follow(operators, at, closedLayer)) {
    at = next;
  }
  // At least one closed layer: its attention names the number of heads.
  return operators.includes(CLOSED_ATTENTION) && follow(operators, at, openLayer) === operators.length;
}

/** The place behind the pattern; undefined where the operators from `at` on do not follow it. */
function follow(operators: readonly string[], at: number, pattern: readonly string[]): number | undefined {
  let next = at;
  for (const wanted of pattern) {
    if (operators[next] === wanted.replace('?', '')) next++;
    else if (!wanted.endsWith('?')) return undefined;
  }
  return next;
}

/** Nodes of the way through all layers: where a text may leave earlier, the branch that goes on. */
function* deepest(graph: GraphProto): Generator<NodeProto> {
  for (const node of graph.node) {
    yield node;
    const onward = attribute(node, 'else_branch')?.g;
    if (onward) yield* deepest(onward);
  }
}

class Graph {
  readonly #nodes: readonly NodeProto[];
  readonly #constants: ReadonlyMap<string, TensorProto>;
  readonly #producers: ReadonlyMap<string, NodeProto>;

  constructor(nodes: readonly NodeProto[], constants: readonly TensorProto[]) {
    this.#nodes = nodes;
    this.#constants = new Map(constants.map((tensor) => [tensor.name, tensor]));
    this.#producers = new Map(nodes.flatMap((node) => node.output.map((name) => [name, node] as const)));
  }

  encoder(): Int8Encoder | undefined {
    const tables = this.#all('Gather').filter((node) => this.#constants.has(node.input[0]!));
    const words = tables.find((node) => this.#constants.get(node.input[0]!)!.dataType === DataType.INT8)!;
    const steps = tables[tables.indexOf(words) + 1]!;
    const norms = this.#all('LayerNormalization').map((node) => this.#norm(node));
    const [vocabulary, hidden] = this.#sizes(words.input[0]!) as [number, number];
    const heads = Number(attribute(this.#all('MultiHeadAttention')[0]!, 'num_heads')?.i);
    const shape = { hidden, heads };
    const products = this.#all(PRODUCT);
    const roundings = this.#all('QuantizeLinear');
    const layers = Array.from({ length: products.length / PRODUCTS_A_LAYER }, (_, i) =>
      this.#layer(shape, {
        products: products.slice(i * PRODUCTS_A_LAYER, (i + 1) * PRODUCTS_A_LAYER),
        roundings: roundings.slice(i * ROUNDINGS_A_LAYER, (i + 1) * ROUNDINGS_A_LAYER),
        norms: norms.slice(1 + i * NORMS_A_LAYER, 1 + (i + 1) * NORMS_A_LAYER),
      }),
    );
    if (!layers.every((layer) => layer !== undefined)) return undefined;
    const positionRows = this.#positionRows(hidden);
    return {
      ...shape,
      vocabulary,
      positions: positionRows.length / hidden,
      wide: layers[0]!.intermediate.bias.length,
      epsilon: attribute(this.#all('LayerNormalization')[0]!, 'epsilon')!.f,
      words: this.#int8(words.input[0]!),
      wordSteps: this.#float32(steps.input[0]!),
      positionRows,
      embeddingNorm: norms[0]!,
      headWeights: this.#headWeights(),
      layers,
    };
  }

  #layer(
    shape: { hidden: number; heads: number },
    parts: { products: readonly NodeProto[]; roundings: readonly NodeProto[]; norms: readonly NormWeights[] },
  ): Int8Layer | undefined {
    const [query, key, value, attentionOutput, intermediate, output] = parts.products.map((node) => this.#linear(node));
    const [hidden, context, attended, widened] = parts.roundings.map((node, i) =>
      this.#rounding(node, i === ROUNDINGS_A_LAYER - 1 ? intermediate!.bias.length : shape.hidden),
    );
    const unmasked = [query!, key!].map((linear) => withoutMaskChannels(linear, shape));
    if (!unmasked.every((linear) => linear !== undefined)) return undefined;
    return {
      hidden: hidden!,
      projection: sideBySide([...unmasked, value!], shape.hidden),
      context: context!,
      attentionOutput: attentionOutput!,
      attentionNorm: parts.norms[0]!,
      attended: attended!,
      intermediate: intermediate!,
      widened: widened!,
      output: output!,
      outputNorm: parts.norms[1]!,
    };
  }

  /** MatMulIntegerToFloat: values, weight, step of the values, steps of the weight, zero point of the values, none, bias. */
  #linear({ input }: NodeProto): Int8Linear {
    const [step] = this.#float32(input[2]!);
    const scales = this.#float32(input[3]!).map((weightStep) => weightStep * step!);
    return { codes: this.#int8(input[1]!), scales, bias: this.#float32(input[6]!) };
  }

  /** QuantizeLinear: values, step, zero point; the values may be a product with a factor a channel. */
  #rounding({ input }: NodeProto, channels: number): Rounding {
    const [step] = this.#float32(input[1]!);
    const scaled = this.#producers.get(input[0]!);
    const factors = scaled?.opType === 'Mul' ? this.#float32(scaled.input[1]!) : new Float32Array(channels).fill(1);
    const [zeroPoint] = this.#bytes(input[2]!);
    return { multipliers: factors.map((factor) => factor / step!), zeroPoint: zeroPoint! };
  }

  #norm({ input }: NodeProto): NormWeights {
    return { scale: this.#float32(input[1]!), bias: this.#float32(input[2]!) };
  }

  /** Positions are sliced to the batch's length, and added to token types: looked up, or one for all. */
  #positionRows(hidden: number): Float32Array {
    const slice = this.#all('Slice')[0]!;
    const added = this.#nodes.find(({ opType, input }) => opType === 'Add' && input.includes(slice.output[0]!))!;
    const other = added.input.find((name) => name !== slice.output[0])!;
    const type = this.#float32(this.#producers.get(other)?.input[0] ?? other);
    return this.#float32(slice.input[0]!).map((value, i) => value + type[i % hidden]!);
  }

  #headWeights(): Float32Array | undefined {
    const scaled = this.#producers.get(this.#all('ReduceSum')[0]!.input[0]!);
    return scaled?.opType === 'Mul' ? this.#float32(scaled.input[1]!) : undefined;
  }

  #all(opType: string): NodeProto[] {
    return this.#nodes.filter((node) => node.opType === opType);
  }

  #sizes(name: string): number[] {
    return this.#constants.get(name)!.dims.map(Number);
  }

  #bytes(name: string): Uint8Array {
    return this.#constants.get(name)!.rawData;
  }

  #int8(name: string): Int8Array {
    const { buffer, byteOffset, length } = this.#bytes(name);
    return new Int8Array(buffer, byteOffset, length);
  }

  /** A copy, because floats in a file need not lie at multiples of four. */
  #float32(name: string): Float32Array {
    return new Float32Array(new Uint8Array(this.#bytes(name)).buffer);
  }
}

/** A head's last channel carries the mask: no input has a weight to it. Undefined where one has. */
function withoutMaskChannels(linear: Int8Linear, shape: { hidden: number; heads: number }): Int8Linear | undefined {
  const size = shape.hidden / shape.heads;
  const outputs = linear.bias.length;
  const isMask = (output: number) => output % (size + 1) === size;
  if (outputs !== shape.heads * (size + 1)) return undefined;
  if (linear.codes.some((code, i) => code !== 0 && isMask(i % outputs))) return undefined;
  return {
    codes: linear.codes.filter((_, i) => !isMask(i % outputs)),
    scales: linear.scales.filter((_, output) => !isMask(output)),
    bias: linear.bias.filter((_, output) => !isMask(output)),
  };
}

/** Linear layers of the same inputs and as many outputs each as one. */
function sideBySide(linears: readonly Int8Linear[], outputs: number): Int8Linear {
  const all = linears.length * outputs;
  const codes = new Int8Array((linears[0]!.codes.length / outputs) * all);
  const scales = new Float32Array(all);
  const bias = new Float32Array(all);
  for (const [i, linear] of linears.entries()) {
    scales.set(linear.scales, i * outputs);
    bias.set(linear.bias, i * outputs);
    for (let from = 0, to = i * outputs; from < linear.codes.length; from += outputs, to += all) {
      codes.set(linear.codes.subarray(from, from + outputs), to);
    }
  }
  return { codes, scales, bias };
}
