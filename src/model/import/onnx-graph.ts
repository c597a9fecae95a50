/** A graph's nodes by the tensors between them. ONNX lists nodes in topological order: positions grow along every path. */
import type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto } from './onnx_pb.js';

export interface GraphIndex {
  readonly nodes: readonly NodeProto[];
  /** Position of the node that makes a tensor. */
  readonly producer: ReadonlyMap<string, number>;
  /** Positions of the nodes that read a tensor. */
  readonly consumers: ReadonlyMap<string, readonly number[]>;
}

export function indexGraph(graph: GraphProto): GraphIndex {
  const producer = new Map<string, number>();
  const consumers = new Map<string, number[]>();
  graph.node.forEach((node, position) => {
    for (const tensor of node.output) if (tensor !== '') producer.set(tensor, position);
    for (const tensor of node.input) {
      const readers = consumers.get(tensor);
      if (readers) readers.push(position);
      else consumers.set(tensor, [position]);
    }
  });
  return { nodes: graph.node, producer, consumers };
}

/** Positions of all nodes that the tensor depends on. */
export function ancestors({ nodes, producer }: GraphIndex, tensor: string): Set<number> {
  const found = new Set<number>();
  const open = [tensor];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const position = producer.get(next);
    if (position === undefined || found.has(position)) continue;
    found.add(position);
    open.push(...nodes[position]!.input);
  }
  return found;
}

/** `Softmax`, or `com.microsoft.Attention` for operators outside of ONNX. */
export const operator = (node: NodeProto): string =>
  node.domain === '' || node.domain === 'ai.onnx' ? node.opType : `${node.domain}.${node.opType}`;

export const attribute = (node: NodeProto, name: string): AttributeProto | undefined =>
  node.attribute.find((one) => one.name === name);

/** Version of the standard operator set, which decides whether axes are attributes or inputs. */
export function opsetVersion(model: ModelProto): number {
  const standard = model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx');
  return Number(standard?.version ?? 1n);
}

/** Inputs that a caller feeds: before IR version 4 the weights were listed among the inputs, too. */
export function fedInputs(graph: GraphProto): ValueInfoProto[] {
  const weights = new Set(graph.initializer.map(({ name }) => name));
  return graph.input.filter(({ name }) => !weights.has(name));
}

export function elementType(value: ValueInfoProto): number | undefined {
  return value.type?.value.case === 'tensorType' ? value.type.value.value.elemType : undefined;
}

/** Every tensor stored in a graph, those of constant nodes and subgraphs included. */
export function* storedTensors(graph: GraphProto): Generator<TensorProto> {
  yield* graph.initializer;
  for (const node of graph.node) {
    for (const { t, tensors, g, graphs } of node.attribute) {
      if (t) yield t;
      yield* tensors;
      for (const inner of g ? [g, ...graphs] : graphs) yield* storedTensors(inner);
    }
  }
}
