/** The tokenizer's thread: owns the tokenizer and answers what is asked of it, a slice of texts at a time. */
import { TextTokenizer } from './tokenizer.js';
import type {
  CutReply,
  CutRequest,
  TokenizerInfo,
  TokenizerReply,
  TokenizerRequest,
  TokenizerWorkerData,
} from './worker-messages.js';
import { serve } from './worker-serve.js';

await serve<TokenizerWorkerData, TokenizerRequest, TokenizerReply, TokenizerInfo>(async ({ folder }) => {
  const tokenizer = await TextTokenizer.load(folder);
  const { vocabularySize, prefix, suffix } = tokenizer;
  const spellings = new Map([...prefix, ...suffix].map((id) => [id, tokenizer.spelling(id)]));
  return {
    info: { vocabularySize, prefix, suffix, spellings },
    answer: async (request) => {
      if (request.kind === 'cut') return cut(tokenizer, request);
      if (request.kind === 'tokens') {
        const { texts, addSpecialTokens } = request;
        return { reply: texts.map((text) => tokenizer.tokens(text, addSpecialTokens)), transfer: [] };
      }
      if (request.kind === 'spell') return { reply: request.ids.map((id) => tokenizer.spelling(id)), transfer: [] };
      const { ids, skipSpecialTokens } = request;
      return { reply: ids.map((list) => tokenizer.decode(list, skipSpecialTokens)), transfer: [] };
    },
  };
});

function cut(tokenizer: TextTokenizer, { texts, maxTokens, direction, withSpans }: CutRequest) {
  const startedAt = performance.now();
  const ids: number[] = [];
  const starts: number[] = [];
  const stops: number[] = [];
  const lengths = new Int32Array(texts.length);
  const truncated = new Uint8Array(texts.length);
  for (const [i, text] of texts.entries()) {
    if (withSpans) {
      const spans = tokenizer.cutWithSpans(text, maxTokens, direction);
      for (const start of spans.starts) starts.push(start);
      for (const stop of spans.stops) stops.push(stop);
      add(spans.ids, spans.truncated, i);
    } else {
      const plain = tokenizer.cut(text, maxTokens, direction);
      add(plain.ids, plain.truncated, i);
    }
  }
  function add(tokens: readonly number[], wasCut: boolean, i: number): void {
    for (const id of tokens) ids.push(id);
    lengths[i] = tokens.length;
    truncated[i] = wasCut ? 1 : 0;
  }
  const reply: CutReply = {
    ids: Int32Array.from(ids),
    starts: Int32Array.from(starts),
    stops: Int32Array.from(stops),
    lengths,
    truncated,
    tokenizeMs: performance.now() - startedAt,
  };
  const arrays = [reply.ids, reply.starts, reply.stops, lengths, truncated];
  return { reply, transfer: arrays.map((array) => array.buffer as ArrayBuffer) };
}
