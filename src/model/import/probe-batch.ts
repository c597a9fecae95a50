/** The texts that an imported graph is tried on, as the padded batches that a server would feed it. */
import { Tensor } from 'onnxruntime-node';

/** Short and long, so that every batch has padding; more than one language and a text that is one word. */
export const PROBE_TEXTS = [
  'Anchorage',
  'How do sediment cores record past climate?',
  'The ferry leaves at six, unless the wind turns.',
  'def mean(values): return sum(values) / len(values)',
  'La pluie tombe sur les toits de la vieille ville.',
  'Short, sharp shocks; a colon: and then an ending!',
  'Glacial valleys are U-shaped because ice, unlike running water, wears away their sides as well as their floors, and leaves hanging tributaries, moraines, and long narrow lakes behind when it melts.',
  'A retrieval model maps questions and passages into one space, so that the passage which answers a question lies near it. Its quality depends on the negatives it saw while it was trained: passages that look right and are not. Easy negatives teach little, and false negatives, which are answers in truth, teach the wrong thing; between the two lies what is worth finding, and finding it is most of the work.',
] as const;

export interface ProbeBatch {
  readonly texts: number;
  /** Tokens of a row, padding included. */
  readonly tokens: number;
  /** Tokens of each text without padding. */
  readonly lengths: Int32Array;
  /** int64 [texts, tokens] by input name. */
  readonly feeds: Readonly<Record<string, Tensor>>;
}

export interface Padding {
  readonly padTokenId: number;
  readonly paddingSide: 'right' | 'left';
}

/** Pads token ids to the longest of them; `inputs` are the names that the graph wants to be fed. */
export function probeBatch(
  ids: readonly (readonly number[])[],
  inputs: readonly string[],
  padding: Padding,
): ProbeBatch {
  const texts = ids.length;
  const tokens = Math.max(...ids.map((row) => row.length));
  const rows = {
    input_ids: new BigInt64Array(texts * tokens).fill(BigInt(padding.padTokenId)),
    attention_mask: new BigInt64Array(texts * tokens),
    token_type_ids: new BigInt64Array(texts * tokens),
  };
  ids.forEach((row, text) => {
    const start = text * tokens + (padding.paddingSide === 'left' ? tokens - row.length : 0);
    row.forEach((id, position) => {
      rows.input_ids[start + position] = BigInt(id);
      rows.attention_mask[start + position] = 1n;
    });
  });
  const feeds: Record<string, Tensor> = {};
  for (const name of inputs) feeds[name] = new Tensor('int64', rows[name as keyof typeof rows], [texts, tokens]);
  return { texts, tokens, lengths: Int32Array.from(ids, (row) => row.length), feeds };
}
