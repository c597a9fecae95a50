/**
 * Any tokenizer.json through the JavaScript package: byte-level BPE, Unigram, and WordPiece variants that
 * bert-pieces.ts does not cover. The package gives no offsets; alignment.ts finds them.
 */
import type { Tokenizer } from '@huggingface/tokenizers';
import { alignTokens, type Surface } from './alignment.js';
import type { PieceSink, PieceTokenizer } from './pieces.js';
import type { TokenizerJson } from './tokenizer-json.js';

const BYTE_TOKEN = /^<0x([0-9A-F]{2})>$/;

export class LibraryPieces implements PieceTokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #byteLevel: boolean;
  readonly #added: ReadonlySet<string>;
  readonly #unknown: string | undefined;

  constructor(tokenizer: Tokenizer, json: TokenizerJson) {
    this.#tokenizer = tokenizer;
    this.#byteLevel = [json.pre_tokenizer, ...(json.pre_tokenizer?.pretokenizers ?? [])].some(
      (step) => step?.type === 'ByteLevel',
    );
    this.#added = new Set(json.added_tokens.map(({ content }) => content));
    this.#unknown = unknownToken(json);
  }

  ids(text: string): number[] {
    return this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  pieces(text: string, sink: PieceSink): void {
    const { ids, tokens } = this.#tokenizer.encode(text, { add_special_tokens: false });
    const spans = alignTokens(text, this.#surfaces(tokens));
    for (let i = 0; i < ids.length; i++) sink(ids[i]!, ...spans[i]!);
  }

  #surfaces(tokens: readonly string[]): Surface[] {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return tokens.map((token) => {
      if (token === this.#unknown) return undefined;
      if (this.#added.has(token)) return token;
      const bytes = this.#byteLevel ? byteLevelBytes(token) : fallbackByte(token);
      if (!bytes) return token.replace(/^##|<\/w>$/, '');
      const text = decoder.decode(bytes, { stream: true });
      return text === '' ? { pending: true } : text;
    });
  }
}

function unknownToken({ model }: TokenizerJson): string | undefined {
  const { unk_token: token, unk_id: id } = model as { unk_token?: string; unk_id?: number };
  if (token !== undefined) return token;
  return id !== undefined && Array.isArray(model.vocab) ? model.vocab[id]?.[0] : undefined;
}

function fallbackByte(token: string): Uint8Array | undefined {
  const hex = BYTE_TOKEN.exec(token)?.[1];
  return hex ? Uint8Array.of(Number.parseInt(hex, 16)) : undefined;
}

/** GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on, in order. */
const BYTE_OF = new Map<string, number>();
for (let byte = 0, next = 0x100; byte < 0x100; byte++) {
  const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  BYTE_OF.set(String.fromCharCode(printable ? byte : next++), byte);
}

function byteLevelBytes(token: string): Uint8Array {
  return Uint8Array.from(token, (character) => BYTE_OF.get(character) ?? 0);
}
