/** What the comparison asks of every peer, whether it is a server behind HTTP or a library in a process of its own. */

export interface Weights {
  readonly name: string;
  /** How the model pools by itself, and so every peer does. */
  readonly pooling: 'mean' | 'cls';
  /** Anchorage's versions of these weights, as --models-dir takes them. */
  readonly modelsDir: string;
  /** A sentence-transformers folder with onnx/model.onnx (float32) and onnx/model_quantized.onnx (dynamic int8). */
  readonly folder: string;
  /** Longest text, in tokens, special tokens included; the same for every peer. */
  readonly maxTokens: number;
}

export interface PeerContext {
  readonly weights: Weights;
  /** Compute threads of each peer. */
  readonly threads: number;
}

export interface Peer {
  readonly name: string;
  readonly kind: 'server' | 'library';
  readonly precision: 'float32' | 'int8';
  /** Which float32 reference its vectors are held against. */
  readonly pooling: 'ata' | 'own';
  /** What is installed, as the registry names it. */
  readonly packages: readonly string[];
  /** Installs what is missing and starts it. @throws Error that says why the peer cannot be had here. */
  readonly open: (context: PeerContext) => Promise<OpenPeer>;
}

export interface OpenPeer {
  /** Root of the peer's processes, for its memory. */
  readonly pid: number;
  /** Batch sizes of a library, texts a request of a server: the best of them is measured. */
  readonly batchSizes: readonly number[];
  /** Every text once, as fast as the peer can. @returns seconds. */
  readonly bulk: (texts: readonly string[], batchSize: number) => Promise<number>;
  /** One call a text, one after the other. @returns the milliseconds of each. */
  readonly oneByOne: (texts: readonly string[]) => Promise<number[]>;
  /** A vector a text, in order. */
  readonly vectors: (texts: readonly string[], batchSize: number) => Promise<Float32Array[]>;
  /** Of servers: where requests go. */
  readonly http?: Endpoint;
  /** Share of the computed tokens that was padding since the start, where the peer tells. */
  readonly paddingShare?: () => Promise<number>;
  readonly close: () => Promise<void>;
}

/** An OpenAI-compatible embeddings route. */
export interface Endpoint {
  readonly url: string;
  readonly model: string;
}
