/** What a graph asks to be fed, and whether that is what the server feeds. */
import { AnchorageError } from '../../errors.js';
import { TensorProto_DataType as DataType, type GraphProto } from './onnx_pb.js';
import { elementType, fedInputs } from './onnx-graph.js';

export const ATTENTION_MASK = 'attention_mask';
const KNOWN_INPUTS = ['input_ids', ATTENTION_MASK, 'token_type_ids'];

/** Names of the inputs, in the graph's order. */
export function graphInputs(graph: GraphProto): string[] {
  const inputs = fedInputs(graph);
  const names = inputs.map(({ name }) => name);
  const unknown = names.filter((name) => !KNOWN_INPUTS.includes(name));
  if (unknown.length > 0) {
    throw new AnchorageError(
      'MODEL_INVALID',
      `the graph wants ${unknown.join(', ')}; a text encoder is fed ${KNOWN_INPUTS.join(', ')} alone`,
    );
  }
  const missing = KNOWN_INPUTS.slice(0, 2).filter((name) => !names.includes(name));
  if (missing.length > 0) throw new AnchorageError('MODEL_INVALID', `the graph has no input ${missing.join(', ')}`);
  const narrow = inputs.find((input) => elementType(input) !== DataType.INT64);
  if (narrow) {
    const type =
      Object.entries(DataType).find(([, number]) => number === elementType(narrow))?.[0] ?? 'of no known type';
    throw new AnchorageError('MODEL_INVALID', `the graph's input ${narrow.name} is ${type} where INT64 is fed`);
  }
  return names;
}
