/** What precision a graph's weights have, in the words of manifest.json. */

import { TensorProto_DataType as DataType, type GraphProto } from './onnx_pb.js';
import { attribute, operator, storedTensors } from './onnx-graph.js';

const EIGHT_BIT =
  /^(MatMulInteger|QLinearMatMul|DequantizeLinear|com\.microsoft\.(MatMulIntegerToFloat|DynamicQuantizeMatMul|QGemm|QAttention))$/;
const BLOCKWISE = /^com\.microsoft\.(MatMulNBits|GatherBlockQuantized)$/;

/** @returns "float32", "float16", "bfloat16", "int8" or "int4": the least precise kind that matrix products use */
export function weightPrecision(graph: GraphProto): string {
  const blockBits = graph.node
    .filter((node) => BLOCKWISE.test(operator(node)))
    .map((node) => Number(attribute(node, 'bits')?.i ?? 4n));
  if (blockBits.length > 0) return `int${Math.min(...blockBits)}`;
  const elements = elementsByType(graph);
  if (graph.node.some((node) => EIGHT_BIT.test(operator(node)))) {
    return elements.has(DataType.INT4) || elements.has(DataType.UINT4) ? 'int4' : 'int8';
  }
  const floats = [DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16];
  const most = floats.reduce((a, b) => ((elements.get(b) ?? 0) > (elements.get(a) ?? 0) ? b : a));
  return most === DataType.FLOAT ? 'float32' : most === DataType.FLOAT16 ? 'float16' : 'bfloat16';
}

function elementsByType(graph: GraphProto): Map<number, number> {
  const elements = new Map<number, number>();
  for (const { dataType, dims } of storedTensors(graph)) {
    const count = dims.reduce((product, dim) => product * Number(dim), 1);
    elements.set(dataType, (elements.get(dataType) ?? 0) + count);
  }
  return elements;
}
