/**
 * The inference thread: owns an encoder, runs it, pools. What leaves it is [texts, dimensions], never the hidden
 * states of a batch (but for /embed_all, whose answer they are).
 */
import { entropyRatio } from '../pooling/anchor-token-aware.js';
import { type BatchOutputs, poolBatch, textAnchorWeights, tokenStates } from '../pooling/pool.js';
import { type Encoder, loadEncoder, type OutputName } from './encoder.js';
import type { Manifest } from './manifest.js';
import { giveWay } from './thread-priority.js';
import type { InferenceInfo, InferenceReply, InferenceRequest, InferenceWorkerData, Work } from './worker-messages.js';
import { serve } from './worker-serve.js';

await serve<InferenceWorkerData, InferenceRequest, InferenceReply, InferenceInfo>(async (data) => {
  if (data.givesWay) giveWay();
  const encoder = await loadEncoder(data);
  const { engine, whyNotNative } = encoder;
  return {
    info: { hidden: await firstPass(encoder, data.manifest), engine, whyNotNative },
    answer: async ({ work, ids, lengths }) => {
      const runAt = performance.now();
      const layers = work.kind === 'vectors' ? work.layers : undefined;
      const outputs = await encoder.run(ids, lengths, outputsFor(work, data.manifest), layers);
      const poolAt = performance.now();
      const { values, entropyRatios } = valuesOf(outputs, work);
      const broken = brokenTexts(values, lengths, work);
      const paddingTokens = encoder.pads ? outputs.texts * outputs.tokens - ids.length : 0;
      const times = { inferenceMs: poolAt - runAt, poolMs: performance.now() - poolAt };
      const reply = { values, entropyRatios, broken, paddingTokens, ...times };
      return { reply, transfer: [values.buffer as ArrayBuffer, entropyRatios.buffer as ArrayBuffer] };
    },
  };
});

/** The first forward pass allocates what later ones reuse, and shows that the graph runs at all. */
async function firstPass(encoder: Encoder, { outputs, padTokenId }: Manifest): Promise<number | undefined> {
  const wanted = outputs.hiddenStates ? 'hiddenStates' : 'sentenceEmbedding';
  const { hidden } = await encoder.run(Int32Array.of(padTokenId, padTokenId), Int32Array.of(2), [wanted], undefined);
  return outputs.hiddenStates ? hidden : undefined;
}

function outputsFor(work: Work, { outputs }: Manifest): OutputName[] {
  const attention = outputs.receivedAttention ? 'receivedAttention' : 'attentions';
  if (work.kind === 'tokens') return ['hiddenStates'];
  if (work.kind === 'anchors') return [attention];
  if (work.pooling.mode === 'graph') return ['sentenceEmbedding'];
  return work.pooling.mode === 'ata' ? ['hiddenStates', attention] : ['hiddenStates'];
}

function valuesOf(outputs: BatchOutputs, work: Work): Pick<InferenceReply, 'values' | 'entropyRatios'> {
  if (work.kind === 'vectors') {
    const entropyRatios = new Float32Array(work.pooling.mode === 'ata' ? outputs.texts : 0);
    const values = poolBatch(outputs, work.pooling, (text, weights) => {
      entropyRatios[text] = entropyRatio(weights);
    });
    return { values, entropyRatios };
  }
  const texts = Array.from({ length: outputs.texts }, (_, text) => text);
  const parts = texts.map((text) =>
    work.kind === 'tokens' ? tokenStates(outputs, text) : textAnchorWeights(outputs, text, work.gamma),
  );
  return { values: joined(parts), entropyRatios: new Float32Array(0) };
}

function joined(parts: readonly (Float32Array | Float64Array)[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A sum over a text's values is finite just when all of them are (or overflowed, which is as bad). */
function brokenTexts(values: Float32Array, lengths: Int32Array, work: Work): number[] {
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const perToken = values.length / tokens;
  const perText = values.length / lengths.length;
  const broken: number[] = [];
  let at = 0;
  for (let text = 0; text < lengths.length; text++) {
    const stop = at + (work.kind === 'vectors' ? perText : lengths[text]! * perToken);
    let sum = 0;
    for (; at < stop; at++) sum += values[at]!;
    if (!Number.isFinite(sum)) broken.push(text);
  }
  return broken;
}
