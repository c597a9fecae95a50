/** Which of a graph's outputs are the hidden states, a pooled embedding and raw attention, told by their shapes. */
import { AnchorageError } from '../../errors.js';

export interface OutputShape {
  readonly name: string;
  /** What one run over a batch gave. */
  readonly dims: readonly number[];
  /** ONNX Runtime's word for the element type. */
  readonly type: string;
}

export interface KnownOutputs {
  /** [batch, tokens, hidden] */
  readonly hiddenStates: OutputShape | undefined;
  /** [batch, dimensions] */
  readonly sentenceEmbedding: OutputShape | undefined;
  /** [batch, heads, tokens, tokens] of the last layer */
  readonly attentions: OutputShape | undefined;
  /** [batch, tokens] */
  readonly receivedAttention: OutputShape | undefined;
}

/** Among several outputs of one shape these names go first; exporters also call them `output_0` or `882`. */
const HIDDEN_STATES = ['last_hidden_state', 'token_embeddings'];
const SENTENCE_EMBEDDINGS = ['sentence_embedding', 'sentence_embeddings', 'text_embeds', 'embeddings'];
/** A vocabulary's scores have the shape of hidden states, and a classifier's input that of an embedding. */
const NEITHER = /logits|pooler/;

/** @param outputs what one run over `batch` gave; its number of texts and of tokens must differ */
export function knownOutputs(outputs: readonly OutputShape[], batch: { texts: number; tokens: number }): KnownOutputs {
  const shaped = (...shape: (number | undefined)[]): OutputShape[] =>
    outputs.filter(({ name, dims, type }) => {
      const fits =
        dims.length === shape.length && shape.every((size, axis) => size === undefined || size === dims[axis]);
      return fits && /^(float|bfloat|double)/.test(type) && !NEITHER.test(name);
    });
  const { texts, tokens } = batch;
  return {
    hiddenStates: preferred(shaped(texts, tokens, undefined), HIDDEN_STATES),
    sentenceEmbedding: preferred(
      shaped(texts, undefined).filter(({ dims }) => dims[1] !== tokens),
      SENTENCE_EMBEDDINGS,
    ),
    attentions: shaped(texts, undefined, tokens, tokens).at(-1),
    receivedAttention: shaped(texts, tokens).find(({ name }) => name === 'received_attention'),
  };
}

const preferred = (outputs: readonly OutputShape[], names: readonly string[]): OutputShape | undefined =>
  names.flatMap((name) => outputs.filter((output) => output.name === name))[0] ?? outputs[0];

/** The output that a pooling reads, or an error that says which outputs there are. */
export function outputFor(mode: string, known: KnownOutputs, outputs: readonly OutputShape[]): OutputShape {
  const output = mode === 'graph' ? known.sentenceEmbedding : known.hiddenStates;
  if (output) return output;
  const shape = mode === 'graph' ? '[batch, dimensions]' : '[batch, tokens, hidden]';
  const hint = mode !== 'graph' && known.sentenceEmbedding ? '; --pooling graph serves its own sentence embedding' : '';
  const there = outputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join(', ');
  throw new AnchorageError('MODEL_INVALID', `the graph has no output ${shape}, only ${there}${hint}`);
}
