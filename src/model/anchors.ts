/** Which tokens an embedding hangs on: anchor weights joined to the tokens they belong to. */
import type { EmbedTask } from './embed-task.js';
import type { Anchor } from './embedding-types.js';

export interface AnchorSource {
  /** The input text without its prompt; undefined where token ids came. */
  readonly text: string | undefined;
  /** Code units of the prompt, which stands before the text. */
  readonly promptLength: number;
  readonly specialTokens: ReadonlySet<number>;
  /** How the vocabulary spells ids that do not stand in the text. */
  readonly spellings: ReadonlyMap<number, string>;
}

/** One anchor a token, in token order; `weights` sum to 1. Tokens of the prompt have no place in the text. */
export function anchorsOf(task: EmbedTask, weights: Float32Array, source: AnchorSource): Anchor[] {
  return Array.from(task.ids, (id, i) => {
    const weight = weights[i]!;
    const start = (task.spans?.starts[i] ?? -1) - source.promptLength;
    const stop = (task.spans?.stops[i] ?? -1) - source.promptLength;
    if (source.text !== undefined && start >= 0) {
      return { id, text: source.text.slice(start, stop), special: false, start, stop, weight };
    }
    const spelled = task.text !== undefined && task.spans && task.spans.starts[i]! >= 0;
    const text = spelled ? promptText(task, i) : (source.spellings.get(id) ?? '');
    return { id, text, special: source.specialTokens.has(id), start: null, stop: null, weight };
  });
}

function promptText(task: EmbedTask, token: number): string {
  return task.text!.slice(task.spans!.starts[token], task.spans!.stops[token]);
}
