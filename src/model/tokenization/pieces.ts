/** What turns text into token ids, without special tokens around it, and can say where each token stands. */
export interface PieceTokenizer {
  ids(text: string): number[];
  /** The same tokens in the same order; [start, stop) in UTF-16 code units of `text`. */
  pieces(text: string, sink: PieceSink): void;
}

export type PieceSink = (id: number, start: number, stop: number) => void;
