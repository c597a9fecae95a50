import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { graphInputs } from '../../../src/model/import/graph-inputs.js';
import { runGraph } from '../../../src/model/import/graph-runner.js';
import { findLastAttention } from '../../../src/model/import/last-attention.js';
import { readOnnxFile, writeWithAddition } from '../../../src/model/import/onnx-file.js';
import { indexGraph, opsetVersion } from '../../../src/model/import/onnx-graph.js';
import { probeBatch } from '../../../src/model/import/probe-batch.js';
import { receivedAttention } from '../../../src/model/import/received-attention.js';
import { reduceAttentions } from '../../../src/pooling/anchor-token-aware.js';
import { HEADS, type TinyEncoder, tinyEncoderBytes } from './tiny-encoder.js';
import { temporaryFolder } from './tiny-model.js';

const TEXTS = [
  [2, 17, 3],
  [2, 9, 33, 71, 15, 3],
  [2, 3],
  [2, 100, 90, 80, 70, 60, 50, 40, 30, 3],
];

/** Appends the output to an encoder that also hands out its raw attention, and runs both over one padded batch. */
async function bothAttentions(encoder: TinyEncoder, paddingSide: 'left' | 'right') {
  const source = join(await temporaryFolder(), 'model.onnx');
  await writeFile(source, tinyEncoderBytes({ ...encoder, attentionsOutput: 'raw' }));
  const file = await readOnnxFile(source);
  const opset = opsetVersion(file.model);
  const found = findLastAttention(indexGraph(file.model.graph), 'last_hidden_state', opset);
  if (!found.found) throw new Error(found.reason);
  const { graph } = receivedAttention({ probabilities: found.probabilities, mask: 'attention_mask', opset });
  await writeWithAddition(file, { addition: graph, target: `${source}.new` });
  const batch = probeBatch(TEXTS, graphInputs(file.model.graph), { padTokenId: 0, paddingSide });
  const [outputs] = await runGraph(`${source}.new`, [batch]);
  const data = (name: string) => outputs!.find((output) => output.name === name)!.data;
  return { batch, received: data('received_attention'), raw: data('raw') };
}

describe('received attention in the graph equals raw attention reduced here', () => {
  const encoders: [string, TinyEncoder, number][] = [
    ['opset 11, axes as attributes', { opset: 11 }, 1e-6],
    ['opset 17, axes as inputs', { opset: 17 }, 1e-6],
    ['a dropout behind the softmax', { opset: 11, attention: 'dropout' }, 1e-6],
    ['a guard against NaN', { attention: 'nan-guard' }, 1e-6],
    ['quantized products', { attention: 'quantized' }, 1e-6],
    ['16-bit weights', { float16: true }, 2e-3],
  ];
  const cases = encoders.flatMap((one) => (['right', 'left'] as const).map((side) => [...one, side] as const));

  it.each(cases)('%s', async (_, encoder, tolerance, paddingSide) => {
    const { batch, received, raw } = await bothAttentions(encoder, paddingSide);
    const { tokens } = batch;
    for (const [text, { length }] of TEXTS.entries()) {
      const start = paddingSide === 'left' ? tokens - length : 0;
      const own = raw.subarray(text * HEADS * tokens ** 2, (text + 1) * HEADS * tokens ** 2);
      const expected = reduceAttentions(own, { heads: HEADS, tokens, start, stop: start + length });
      const row = received.subarray(text * tokens, (text + 1) * tokens);
      const errors = Array.from(expected, (value, j) => Math.abs(row[start + j]! - value));
      expect(Math.max(...errors)).toBeLessThan(tolerance * HEADS * length);
      const padding = row.filter((_, position) => position < start || position >= start + length);
      expect([...padding]).toEqual(new Array(tokens - length).fill(0));
      expect(row.reduce((sum, value) => sum + value, 0) / (HEADS * length)).toBeCloseTo(1, 2);
    }
  });
});
