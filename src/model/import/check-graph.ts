/** Trial runs: the graph as it came, to see what it gives, and the graph as it will be served, to see that it is right. */
import type { BatchOutputs, Pooling } from '../../pooling/pool.js';
import type { Manifest } from '../manifest.js';
import type { TextTokenizer } from '../tokenizer.js';
import { type KnownOutputs, knownOutputs } from './graph-outputs.js';
import { type Output, runGraph } from './graph-runner.js';
import { type Padding, PROBE_TEXTS, type ProbeBatch, probeBatch } from './probe-batch.js';
import { batchCosine, checkReceivedAttention, checkSameHiddenStates } from './self-check.js';

/** A pass over the longest input costs heads x tokens^2 numbers a layer; beyond this it is not worth the memory. */
const LONGEST_TRIED_TOKENS = 1024;

export interface Trial {
  /** All texts in one padded batch. */
  readonly batch: ProbeBatch;
  /** The same texts, each in a batch of its own. */
  readonly alone: readonly ProbeBatch[];
  /** One text as long as the model takes, or nearly. */
  readonly longest: ProbeBatch;
  readonly padding: Padding;
}

export interface Original {
  readonly outputs: readonly Output[];
  readonly known: KnownOutputs;
}

export interface GraphCheck {
  /** Undefined where the graph gives no received attention. */
  readonly heads: number | undefined;
  /** Largest change of a hidden state, relative to their root mean square; undefined where there are none. */
  readonly hiddenStatesDifference: number | undefined;
  /** Smallest cosine between a text's embedding alone and in a mixed batch. */
  readonly batchCosine: number;
}

export function prepareTrial(
  tokenizer: TextTokenizer,
  { inputs, padding, maxTokens }: { inputs: readonly string[]; padding: Padding; maxTokens: number },
): Trial {
  const ids = PROBE_TEXTS.map((text) => tokenizer.cut(text, maxTokens, 'right').ids);
  // Outputs are told apart by their shapes, so no two of their sizes may be the same.
  if (Math.max(...ids.map((row) => row.length)) === ids.length) ids.shift();
  const limit = Math.min(maxTokens, LONGEST_TRIED_TOKENS);
  const long = PROBE_TEXTS.join(' ').repeat(Math.ceil(limit / PROBE_TEXTS.length));
  const padded = (rows: readonly (readonly number[])[]) => probeBatch(rows, inputs, padding);
  return {
    batch: padded(ids),
    alone: ids.map((row) => padded([row])),
    longest: padded([tokenizer.cut(long, limit, 'right').ids]),
    padding,
  };
}

export async function tryOriginal(path: string, trial: Trial): Promise<Original> {
  const [outputs] = await runGraph(path, [trial.batch]);
  return { outputs: outputs!, known: knownOutputs(outputs!, trial.batch) };
}

/** Runs the graph at `path` as a server would, and throws where it is not what it should be. */
export async function checkGraph(
  path: string,
  expected: {
    readonly original: Original;
    readonly trial: Trial;
    readonly outputs: Manifest['outputs'];
    readonly pooling: Pooling;
    /** As the model's configuration states it; otherwise it is counted. */
    readonly heads: number | undefined;
  },
): Promise<GraphCheck> {
  const { original, trial, outputs: names, pooling } = expected;
  const batches = [trial.batch, ...trial.alone, trial.longest];
  const results = await runGraph(path, batches, Object.values(names));
  const [batched, ...alone] = results.map((outputs, i) =>
    batchOutputs(outputs, batches[i]!, { names, ...trial.padding }),
  );
  const before = original.known.hiddenStates;
  const hiddenStates = original.outputs.find(({ name }) => name === before?.name)?.data;
  return {
    heads: names.receivedAttention ? checkReceivedAttention(batched!, trial.batch, expected.heads) : undefined,
    hiddenStatesDifference: hiddenStates && checkSameHiddenStates(hiddenStates, batched!.hiddenStates!),
    batchCosine: batchCosine(batched!, alone.slice(0, -1), pooling),
  };
}

function batchOutputs(
  outputs: readonly Output[],
  { texts, tokens, lengths }: ProbeBatch,
  { names, paddingSide }: { names: Manifest['outputs']; paddingSide: Padding['paddingSide'] },
): BatchOutputs {
  const find = (wanted: string | undefined) => outputs.find(({ name }) => name === wanted);
  const hiddenStates = find(names.hiddenStates);
  const sentenceEmbedding = find(names.sentenceEmbedding);
  return {
    texts,
    tokens,
    lengths,
    paddingSide,
    hidden: (hiddenStates ?? sentenceEmbedding)!.dims.at(-1)!,
    hiddenStates: hiddenStates?.data,
    receivedAttention: find(names.receivedAttention)?.data,
    sentenceEmbedding: sentenceEmbedding?.data,
  };
}
