/** What is to be added to a graph so that it serves, and what its outputs are called then. */
import { AnchorageError } from '../../errors.js';
import type { Manifest } from '../manifest.js';
import { ATTENTION_MASK } from './graph-inputs.js';
import type { KnownOutputs, OutputShape } from './graph-outputs.js';
import { findLastAttention } from './last-attention.js';
import type { OnnxFile } from './onnx-file.js';
import { indexGraph, opsetVersion } from './onnx-graph.js';
import { type Addition, asFloat32, receivedAttention } from './received-attention.js';

export interface GraphPlan {
  readonly additions: readonly Addition[];
  readonly outputs: Manifest['outputs'];
  /** Where received attention comes from, or `none: ` and why; a line for whoever imports. */
  readonly attention: string;
}

/** Hidden states and received attention, and where the graph is to pool its own embedding, all as float32. */
export function planGraph(file: OnnxFile, known: KnownOutputs, mode: Manifest['pooling']['mode']): GraphPlan {
  const additions: Addition[] = [];
  const asFloat = (output: OutputShape): string => {
    if (output.type === 'float32') return output.name;
    const addition = asFloat32(output.name, output.dims.length);
    additions.push(addition);
    return addition.output;
  };
  const { hiddenStates, sentenceEmbedding } = known;
  const attention = planAttention(file, known);
  if ('addition' in attention) additions.push(attention.addition);
  return {
    additions,
    outputs: {
      ...(hiddenStates && { hiddenStates: asFloat(hiddenStates) }),
      ...('output' in attention && { receivedAttention: asFloat(attention.output) }),
      ...('addition' in attention && { receivedAttention: attention.addition.output }),
      ...(mode === 'graph' && sentenceEmbedding && { sentenceEmbedding: asFloat(sentenceEmbedding) }),
    },
    attention: attention.line,
  };
}

/** The same plan for a graph whose attention cannot be had. */
export function withoutAttention(plan: GraphPlan, reason: string): GraphPlan {
  const { receivedAttention: output, ...outputs } = plan.outputs;
  return { additions: plan.additions.filter((one) => one.output !== output), outputs, attention: `none: ${reason}` };
}

/** Why a model cannot be pooled by ATA, and what to do instead. */
export const attentionUnavailable = (reason: string): AnchorageError =>
  new AnchorageError(
    'MODEL_INVALID',
    `the attention that tokens receive in the last layer cannot be had: ${reason}; ` +
      'import the model from an export that is not fused, or serve this one with --pooling mean or --pooling cls',
  );

type AttentionPlan = { line: string } & ({ addition: Addition } | { output: OutputShape } | { none: true });

function planAttention(file: OnnxFile, known: KnownOutputs): AttentionPlan {
  if (known.receivedAttention) return { output: known.receivedAttention, line: 'the graph has received_attention' };
  if (!known.hiddenStates) return { none: true, line: 'none: the graph has no hidden states' };
  const opset = opsetVersion(file.model);
  const found = findLastAttention(indexGraph(file.model.graph), known.hiddenStates.name, opset);
  const probabilities = found.found ? found.probabilities : known.attentions?.name;
  if (probabilities === undefined) return { none: true, line: `none: ${found.found ? '' : found.reason}` };
  return {
    addition: receivedAttention({ probabilities, mask: ATTENTION_MASK, opset }),
    line: `appended behind ${found.found ? found.softmax : `output ${probabilities}`}`,
  };
}
