/** The parts of a tokenizer.json (Hugging Face `tokenizers`) that are read here; the package reads the rest. */
export interface TokenizerJson {
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer: Typed | null;
  readonly pre_tokenizer: (Typed & { readonly pretokenizers?: readonly Typed[] }) | null;
  readonly model: Typed & { readonly vocab: Readonly<Record<string, number>> | readonly (readonly [string, number])[] };
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

interface Typed {
  readonly type: string;
}

/** One more than the highest token id. */
export function vocabularySize({ model, added_tokens: added }: TokenizerJson): number {
  const highest = Array.isArray(model.vocab)
    ? model.vocab.length - 1
    : Object.values(model.vocab as Readonly<Record<string, number>>).reduce((max, id) => Math.max(max, id), -1);
  return added.reduce((max, { id }) => Math.max(max, id), highest) + 1;
}
