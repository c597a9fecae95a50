/**
 * Small but real text encoders as ONNX graphs: token and position embeddings, layers of masked multi-head attention and a
 * feed-forward part, random weights from a seed. They differ in what exporters differ in: the opset, how attention is
 * written down, the precision, and which outputs there are.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from '../../../src/model/import/onnx_pb.js';

export const HEADS = 2;
export const HIDDEN = 8;
export const VOCABULARY = 128;
export const POSITIONS = 64;
const LAYERS = 2;

/**
 * How attention reaches its values: straight from the Softmax; through a dropout; a guard against NaN; quantized, as
 * every other product then is; with the Softmax written out as exponentials over their sum (opset 17); in one fused operator; or
 * with heads folded into the batch, so that nothing has four axes.
 */
export type AttentionStyle = 'plain' | 'dropout' | 'nan-guard' | 'quantized' | 'written-out' | 'fused' | 'folded';

export interface TinyEncoder {
  readonly opset?: 11 | 17;
  readonly attention?: AttentionStyle;
  readonly float16?: boolean;
  /** Also hands out the last layer's probabilities [batch, heads, tokens, tokens] under this name. */
  readonly attentionsOutput?: string;
  /** Also hands out a pooled embedding [batch, HIDDEN] under this name: the first token's state. */
  readonly sentenceOutput?: string;
  readonly hiddenStatesOutput?: string;
  /** Inputs besides input_ids and attention_mask. */
  readonly furtherInputs?: readonly string[];
}

export function tinyEncoder(choice: TinyEncoder = {}): ModelProto {
  const { opset = 17, attention = 'plain', float16 = false, furtherInputs = ['token_type_ids'] } = choice;
  const graph = new GraphWriter({ opset, float16, quantized: attention === 'quantized' });
  let states = graph.embeddings();
  const mask =
    attention === 'fused' ? graph.node('Cast', ['attention_mask'], { to: DataType.INT32 }) : graph.additiveMask();
  let probabilities = '';
  for (let layer = 0; layer < LAYERS; layer++) {
    const attended = graph.attention(states, { mask, style: attention, layer });
    probabilities = attended.probabilities;
    states = graph.node('Tanh', [graph.node('Add', [states, graph.linear(attended.output)])]);
    const inner = graph.node('Relu', [graph.linear(states)]);
    states = graph.node('Tanh', [graph.node('Add', [states, graph.linear(inner)])]);
  }
  graph.output(states, choice.hiddenStatesOutput ?? 'last_hidden_state', 3);
  if (choice.attentionsOutput) graph.output(probabilities, choice.attentionsOutput, 4);
  if (choice.sentenceOutput) {
    graph.output(graph.node('Gather', [states, graph.integers([], [0])], { axis: 1 }), choice.sentenceOutput, 2);
  }
  for (const name of ['input_ids', 'attention_mask', ...furtherInputs]) graph.input(name);
  return create(ModelProtoSchema, {
    irVersion: opset < 13 ? 6n : 8n,
    producerName: 'tiny-encoder',
    graph: graph.graph,
    opsetImport: [
      { domain: '', version: BigInt(opset) },
      { domain: 'com.microsoft', version: 1n },
    ],
  });
}

export const tinyEncoderBytes = (choice?: TinyEncoder): Uint8Array => toBinary(ModelProtoSchema, tinyEncoder(choice));

/** Writes a graph node by node; every method returns the name of the tensor that it made. */
class GraphWriter {
  readonly graph: GraphProto = create(GraphProtoSchema, { name: 'tiny' });
  readonly #opset: number;
  readonly #float: number;
  readonly #quantizes: boolean;
  #random = 1;
  #named = 0;

  constructor({ opset, float16, quantized }: { opset: number; float16: boolean; quantized: boolean }) {
    this.#opset = opset;
    this.#float = float16 ? DataType.FLOAT16 : DataType.FLOAT;
    this.#quantizes = quantized;
  }

  node(opType: string, input: string[], attributes: Record<string, number | number[]> = {}, domain = ''): string {
    const output = this.#name(opType);
    const attribute = Object.entries(attributes).map(([name, value]) =>
      create(
        AttributeProtoSchema,
        Array.isArray(value)
          ? { name, type: AttributeType.INTS, ints: value.map(BigInt) }
          : { name, type: AttributeType.INT, i: BigInt(value) },
      ),
    );
    // A node of several outputs is asked for by its first; DynamicQuantizeLinear's scale and zero point go by suffixes.
    const outputs = opType === 'DynamicQuantizeLinear' ? [output, `${output}_scale`, `${output}_zero`] : [output];
    this.graph.node.push(
      create(NodeProtoSchema, { opType, name: `/${output}`, input, output: outputs, attribute, domain }),
    );
    return output;
  }

  embeddings(): string {
    const tokens = this.node('Gather', [this.weights([VOCABULARY, HIDDEN]), 'input_ids'], { axis: 0 });
    const length = this.node('Gather', [this.node('Shape', ['input_ids']), this.integers([], [1])], { axis: 0 });
    const range = this.node('Range', [this.integers([], [0]), length, this.integers([], [1])]);
    return this.node('Add', [tokens, this.node('Gather', [this.weights([POSITIONS, HIDDEN]), range], { axis: 0 })]);
  }

  /** [batch, 1, 1, tokens]: 0 for tokens, -10000 for padding. */
  additiveMask(): string {
    const mask = this.node('Cast', ['attention_mask'], { to: this.#float });
    const padding = this.node('Sub', [this.constant(1), mask]);
    return this.#unsqueeze(this.node('Mul', [padding, this.constant(-10000)]), [1, 2]);
  }

  attention(
    states: string,
    { mask, style, layer }: { mask: string; style: AttentionStyle; layer: number },
  ): { output: string; probabilities: string } {
    const [query, key, value] = [this.linear(states), this.linear(states), this.linear(states)] as const;
    if (style === 'fused') {
      const inputs = [query, key, value, '', mask];
      const output = this.node('MultiHeadAttention', inputs, { num_heads: HEADS }, 'com.microsoft');
      return { output, probabilities: '' };
    }
    const keys = this.node('Transpose', [this.#split(key)], { perm: [0, 1, 3, 2] });
    const scores = this.node('Mul', [
      this.node('MatMul', [this.#split(query), keys]),
      this.constant((HIDDEN / HEADS) ** -0.5),
    ]);
    const masked = this.node('Add', [scores, mask]);
    const folded = style === 'folded' && layer === LAYERS - 1;
    const softmax = this.#softmax(folded ? this.#fold(masked) : masked, style);
    const probabilities = this.#guarded(softmax, style);
    const values = folded ? this.#fold(this.#split(value)) : this.#split(value);
    const attended = this.#multiply(probabilities, values);
    const unfolded = folded ? this.#unfold(attended, states) : attended;
    return { output: this.#join(unfolded), probabilities };
  }

  /** [.., HIDDEN] times a square of random weights. */
  linear(input: string): string {
    return this.#multiply(input, this.weights([HIDDEN, HIDDEN]));
  }

  weights(dims: number[]): string {
    const count = dims.reduce((product, dim) => product * dim, 1);
    return this.#floats(
      dims,
      Array.from({ length: count }, () => this.#uniform()),
    );
  }

  constant(value: number): string {
    return this.#floats([], [value]);
  }

  integers(dims: number[], values: number[]): string {
    const name = this.#name('integers');
    const tensor = { name, dims: dims.map(BigInt), dataType: DataType.INT64, int64Data: values.map(BigInt) };
    this.graph.initializer.push(create(TensorProtoSchema, tensor));
    return name;
  }

  input(name: string): void {
    this.graph.input.push(valueInfo(name, DataType.INT64, 2));
  }

  output(tensor: string, name: string, rank: number): void {
    const node = create(NodeProtoSchema, { opType: 'Identity', name: `/${name}`, input: [tensor], output: [name] });
    this.graph.node.push(node);
    this.graph.output.push(valueInfo(name, this.#float, rank));
  }

  #softmax(scores: string, style: AttentionStyle): string {
    if (style !== 'written-out') return this.node('Softmax', [scores], { axis: -1 });
    const exponentials = this.node('Exp', [scores]);
    const sums = this.node('ReduceSum', [exponentials, this.integers([1], [-1])], { keepdims: 1 });
    return this.node('Div', [exponentials, sums]);
  }

  #guarded(softmax: string, style: AttentionStyle): string {
    if (style === 'dropout') return this.node('Dropout', [softmax]);
    if (style !== 'nan-guard') return softmax;
    return this.node('Where', [this.node('IsNaN', [softmax]), this.constant(0), softmax]);
  }

  #multiply(a: string, b: string): string {
    if (!this.#quantizes) return this.node('MatMul', [a, b]);
    const [qa, qb] = [this.node('DynamicQuantizeLinear', [a]), this.node('DynamicQuantizeLinear', [b])];
    const product = this.node('MatMulInteger', [qa, qb, `${qa}_zero`, `${qb}_zero`]);
    const scale = this.node('Mul', [`${qa}_scale`, `${qb}_scale`]);
    return this.node('Mul', [this.node('Cast', [product], { to: DataType.FLOAT }), scale]);
  }

  /** [batch, tokens, HIDDEN] -> [batch, HEADS, tokens, HIDDEN / HEADS] */
  #split(tensor: string): string {
    const heads = this.node('Reshape', [tensor, this.integers([4], [0, 0, HEADS, HIDDEN / HEADS])]);
    return this.node('Transpose', [heads], { perm: [0, 2, 1, 3] });
  }

  #join(tensor: string): string {
    const tokensFirst = this.node('Transpose', [tensor], { perm: [0, 2, 1, 3] });
    return this.node('Reshape', [tokensFirst, this.integers([3], [0, 0, HIDDEN])]);
  }

  /** [batch, heads, a, b] -> [batch x heads, a, b] */
  #fold(tensor: string): string {
    const shape = this.node('Shape', [tensor]);
    const inner = this.node('Gather', [shape, this.integers([2], [2, 3])], { axis: 0 });
    return this.node('Reshape', [tensor, this.node('Concat', [this.integers([1], [-1]), inner], { axis: 0 })]);
  }

  #unfold(tensor: string, states: string): string {
    const tokens = this.node('Gather', [this.node('Shape', [states]), this.integers([1], [1])], { axis: 0 });
    const parts = [this.integers([2], [-1, HEADS]), tokens, this.integers([1], [HIDDEN / HEADS])];
    return this.node('Reshape', [tensor, this.node('Concat', parts, { axis: 0 })]);
  }

  #unsqueeze(tensor: string, axes: number[]): string {
    if (this.#opset < 13) return this.node('Unsqueeze', [tensor], { axes });
    return this.node('Unsqueeze', [tensor, this.integers([axes.length], axes)]);
  }

  #floats(dims: number[], values: number[]): string {
    const name = this.#name('weights');
    const rawData =
      this.#float === DataType.FLOAT16 ? halfBytes(values) : new Uint8Array(Float32Array.from(values).buffer);
    const tensor = { name, dims: dims.map(BigInt), dataType: this.#float, rawData };
    this.graph.initializer.push(create(TensorProtoSchema, tensor));
    return name;
  }

  /** A linear congruential generator (Numerical Recipes), -1 to 1: the same weights everywhere. */
  #uniform(): number {
    this.#random = (Math.imul(this.#random, 1664525) + 1013904223) >>> 0;
    return this.#random / 2 ** 31 - 1;
  }

  #name(kind: string): string {
    return `${kind}_${this.#named++}`;
  }
}

function valueInfo(name: string, elemType: number, rank: number) {
  const dim = Array.from({ length: rank }, (_, axis) => ({
    value: { case: 'dimParam' as const, value: `${name}_${axis}` },
  }));
  const tensorType = { elemType, shape: { dim } };
  return create(ValueInfoProtoSchema, { name, type: { value: { case: 'tensorType', value: tensorType } } });
}

/** Truncates to IEEE 754 binary16; the values here are normal numbers, 0 and -10000. */
function halfBytes(values: number[]): Uint8Array {
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  const halves = Uint16Array.from(bits, (bit) => {
    const exponent = ((bit >> 23) & 0xff) - 127 + 15;
    return exponent <= 0 ? 0 : ((bit >> 16) & 0x8000) | (exponent << 10) | ((bit >> 13) & 0x3ff);
  });
  return new Uint8Array(halves.buffer);
}
