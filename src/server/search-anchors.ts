/**
 * Which tokens the embeddings of found texts hang on. Weights are not stored: each text goes through the model once more, by
 * itself and with the model's document prompt, whatever prompt or surrounding text it was embedded with.
 */
import { isBlank } from '../blank.js';
import type { SearchResult } from '../index/search-types.js';
import type { Embedder } from '../model/embedder.js';
import type { Anchor } from '../model/embedding-types.js';
import { promptFor } from '../model/prompts.js';
import { heaviest } from './anchor-json.js';
import { checkInputBounds, type InputBounds, laneOf } from './embedding-request.js';

/** Anchors of a result: the rest of a passage's tokens carry little each. */
const ANCHORS_PER_RESULT = 10;

/** By text; the heaviest of each, heaviest first. */
export type AnchorsByText = ReadonlyMap<string, readonly Anchor[]>;

/**
 * @param results those with texts get anchors; of a document with chunks, the chunks.
 * @throws AnchorageError PAYLOAD_TOO_LARGE where there are more texts than one request may have.
 */
export async function anchorsOfResults(
  embedder: Embedder,
  results: readonly SearchResult[],
  { signal, bounds }: { signal: AbortSignal; bounds: InputBounds },
): Promise<AnchorsByText> {
  const texts = [...new Set(results.flatMap(embeddedTexts))];
  if (texts.length === 0) return new Map();
  checkInputBounds(texts, 'include', bounds);
  const prompt = promptFor('document', undefined, embedder.manifest);
  const { anchors } = await embedder.anchors(texts, { prompt, lane: laneOf(texts), signal });
  return new Map(texts.map((text, index) => [text, heaviest(anchors[index]!, ANCHORS_PER_RESULT)]));
}

function embeddedTexts({ text, chunks }: SearchResult): string[] {
  if (chunks && chunks.length > 0) return chunks.flatMap(embeddedTexts);
  return text === undefined || isBlank(text) ? [] : [text];
}
