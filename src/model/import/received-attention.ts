/**
 * The nodes that reduce attention to what anchor-token-aware pooling needs, inside the graph, because
 * A [batch, heads, tokens, tokens] must never reach JavaScript:
 *
 *     r[b, j] = m[b, j] * sum over heads h and queries i of m[b, i] * A[b, h, i, j]
 *
 * with m the attention mask. Rows of padding queries are left out and padding keys get 0, so over a text of n tokens r
 * sums to n times the number of heads, for every row of A sums to 1.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './onnx_pb.js';

/** Inner tensors, under a prefix that keeps them from meeting those of an exporter. */
const PREFIX = 'anchorage/';
const INNER = {
  probabilities: `${PREFIX}probabilities`, // [batch, heads, tokens, tokens]
  mask: `${PREFIX}mask`, // [batch, tokens]
  rows: `${PREFIX}rows`, // [batch, 1, 1, tokens]
  perHead: `${PREFIX}per_head`, // [batch, heads, 1, tokens]
  summed: `${PREFIX}summed`, // [batch, tokens]
  axes: `${PREFIX}axes`,
} as const;
/** From this opset on ReduceSum and Unsqueeze take their axes as an input; before, as an attribute. */
const AXES_AS_INPUT_OPSET = 13;

export interface Addition {
  readonly graph: GraphProto;
  /** Name of the new output. */
  readonly output: string;
}

/**
 * @param attention.probabilities A [batch, heads, tokens, tokens], of any floating-point type
 * @param attention.mask int64 [batch, tokens], 1 for tokens and 0 for padding
 * @returns nodes and an output float32 [batch, tokens]
 */
export function receivedAttention(attention: { probabilities: string; mask: string; opset: number }): Addition {
  const output = 'received_attention';
  const keepDims = attribute('keepdims', { type: AttributeType.INT, i: 0n });
  const axes = axesOf([1n, 2n], attention.opset);
  const nodes = [
    castToFloat(attention.probabilities, INNER.probabilities),
    castToFloat(attention.mask, INNER.mask),
    node('Unsqueeze', { input: [INNER.mask, ...axes.input], output: INNER.rows, attribute: axes.attribute }),
    node('MatMul', { input: [INNER.rows, INNER.probabilities], output: INNER.perHead }),
    node('ReduceSum', {
      input: [INNER.perHead, ...axes.input],
      output: INNER.summed,
      attribute: [...axes.attribute, keepDims],
    }),
    node('Mul', { input: [INNER.summed, INNER.mask], output }),
  ];
  const graph = create(GraphProtoSchema, { node: nodes, initializer: axes.initializer, output: [float32(output, 2)] });
  return { graph, output };
}

/** An output that is `tensor` as float32, for graphs whose numbers JavaScript has no array for. */
export function asFloat32(tensor: string, rank: number): Addition {
  const output = `${tensor}_float32`;
  const graph = create(GraphProtoSchema, { node: [castToFloat(tensor, output)], output: [float32(output, rank)] });
  return { graph, output };
}

/** Several additions as one. */
export function joined(additions: readonly Addition[]): GraphProto {
  return create(GraphProtoSchema, {
    node: additions.flatMap(({ graph }) => graph.node),
    initializer: additions.flatMap(({ graph }) => graph.initializer),
    output: additions.flatMap(({ graph }) => graph.output),
  });
}

function axesOf(axes: bigint[], opset: number) {
  if (opset < AXES_AS_INPUT_OPSET) {
    return { input: [], initializer: [], attribute: [attribute('axes', { type: AttributeType.INTS, ints: axes })] };
  }
  const initializer = [{ name: INNER.axes, dataType: DataType.INT64, dims: [BigInt(axes.length)], int64Data: axes }];
  return { input: [INNER.axes], initializer, attribute: [] };
}

const castToFloat = (input: string, output: string): NodeProto =>
  node('Cast', {
    input: [input],
    output,
    attribute: [attribute('to', { type: AttributeType.INT, i: BigInt(DataType.FLOAT) })],
  });

function node(
  opType: string,
  { input, output, attribute = [] }: { input: string[]; output: string; attribute?: AttributeProto[] },
): NodeProto {
  return create(NodeProtoSchema, { name: `${PREFIX}${opType}/${output}`, opType, input, output: [output], attribute });
}

const attribute = (name: string, value: MessageInitShape<typeof AttributeProtoSchema>): AttributeProto =>
  create(AttributeProtoSchema, { name, ...value });

/** Dimensions stay unnamed: exporters name those of the inputs, and not always rightly. */
function float32(name: string, rank: number): ValueInfoProto {
  const tensorType = { elemType: DataType.FLOAT, shape: { dim: Array.from({ length: rank }, () => ({})) } };
  return create(ValueInfoProtoSchema, { name, type: { value: { case: 'tensorType', value: tensorType } } });
}
