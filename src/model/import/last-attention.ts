/**
 * Finds the attention probabilities of an encoder's last layer, A [batch, heads, tokens, tokens], in its ONNX graph.
 *
 * Attention is softmax(Q K' + mask) V, so the tensor sought is what a Softmax hands to a matrix product, perhaps through
 * a dropout, a cast, a guard against NaN or a quantization. Of all such Softmaxes on the way to the hidden states the
 * last one counts, if it is the last beyond doubt: every other one comes before it, and no fused attention follows.
 */
import { ancestors, attribute, type GraphIndex, operator } from './onnx-graph.js';

export type LastAttention =
  | { readonly found: true; readonly probabilities: string; readonly softmax: string }
  | { readonly found: false; readonly reason: string };

/** Operators that change nothing about which token attends to which. */
const PASSES_THROUGH = new Set(['Dropout', 'Identity', 'Cast', 'Where']);
/** Behind these the numbers are integers or rounded; the tensor before them is the better one. */
const QUANTIZES = new Set(['QuantizeLinear', 'DequantizeLinear', 'DynamicQuantizeLinear']);
const MULTIPLIES = new Set([
  'MatMul',
  'MatMulInteger',
  'QLinearMatMul',
  'Einsum',
  'com.microsoft.FusedMatMul',
  'com.microsoft.MatMulIntegerToFloat',
  'com.microsoft.DynamicQuantizeMatMul',
  'com.microsoft.QGemm',
]);
/** Attention in one operator: the probabilities never leave it. */
const FUSED = /^(com\.microsoft\.\w*Attention|Attention)$/;

/** @param hiddenStates name of the output [batch, tokens, hidden] */
export function findLastAttention(index: GraphIndex, hiddenStates: string, opset: number): LastAttention {
  const reach = ancestors(index, hiddenStates);
  const inOrder = [...reach].sort((a, b) => a - b);
  const fused = inOrder.filter((position) => FUSED.test(operator(index.nodes[position]!)));
  const candidates = inOrder.flatMap((position) => {
    const probabilities = attentionProbabilities(index, position, reach);
    return probabilities === undefined ? [] : [{ position, probabilities }];
  });
  const last = candidates.at(-1);
  if (!last) return refuse(fused.length > 0 ? fusedReason(index, fused) : 'it has no Softmax that weighs values');

  const { name, output } = index.nodes[last.position]!;
  const softmax = name || output[0]!;
  const before = ancestors(index, output[0]!);
  const unordered = candidates.find(({ position }) => position !== last.position && !before.has(position));
  if (unordered) {
    const other = index.nodes[unordered.position]!;
    return refuse(`two attentions run side by side, ${other.name || other.output[0]} and ${softmax}`);
  }
  const fusedBehind = fused.filter((position) =>
    ancestors(index, index.nodes[position]!.output[0]!).has(last.position),
  );
  if (fusedBehind.length > 0) return refuse(fusedReason(index, fusedBehind));
  const axis = Number(attribute(index.nodes[last.position]!, 'axis')?.i ?? (opset < 13 ? 1n : -1n));
  if (axis !== -1 && axis !== 3) return refuse(`${softmax} normalizes over axis ${axis}, not over the attended tokens`);
  return { found: true, probabilities: last.probabilities, softmax };
}

/** What the node hands on to be multiplied with the values, if the node is a Softmax that does so on the way to the output. */
function attentionProbabilities(index: GraphIndex, position: number, reach: ReadonlySet<number>): string | undefined {
  const node = index.nodes[position]!;
  return operator(node) === 'Softmax' ? follow(index, node.output[0]!, reach) : undefined;
}

/** The last unquantized tensor on the way from `tensor` to a matrix product; undefined where the way leads elsewhere. */
function follow(index: GraphIndex, tensor: string, reach: ReadonlySet<number>): string | undefined {
  const readers = (index.consumers.get(tensor) ?? []).filter((position) => reach.has(position));
  for (const position of readers) {
    const node = index.nodes[position]!;
    const kind = operator(node);
    if (MULTIPLIES.has(kind) && node.input[0] === tensor) return tensor;
    if (PASSES_THROUGH.has(kind)) {
      const further = follow(index, node.output[0]!, reach);
      if (further !== undefined) return further;
    }
    if (QUANTIZES.has(kind) && follow(index, node.output[0]!, reach) !== undefined) return tensor;
  }
  return undefined;
}

function fusedReason(index: GraphIndex, fused: readonly number[]): string {
  const node = index.nodes[fused.at(-1)!]!;
  return `its last attention is one fused ${operator(node)} operator (${node.name || node.output[0]}), which keeps its probabilities to itself`;
}

const refuse = (reason: string): LastAttention => ({ found: false, reason });
