/** The one load client: OpenAI's embeddings route over kept-alive connections, bodies made and answers parsed off the clock. */
import { Agent, request } from 'node:http';
import type { Endpoint } from './peer.js';

/** Requests that wait for an answer at once while bulk work is measured. */
export const BULK_IN_FLIGHT = 8;

export interface EmbeddingAnswer {
  readonly data: readonly { readonly index: number; readonly embedding: string }[];
}

export class LoadClient {
  readonly #endpoint: Endpoint;
  readonly #agent = new Agent({ keepAlive: true });

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  /** Base64 vectors: what the OpenAI SDKs ask for, and the cheapest answer that every server here can give. */
  body(texts: readonly string[]): Buffer {
    const { model } = this.#endpoint;
    return Buffer.from(JSON.stringify({ model, input: texts, encoding_format: 'base64' }));
  }

  /** @throws Error with the answer where its status is not 200. */
  post(body: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': body.length };
      const sent = request(
        `${this.#endpoint.url}/v1/embeddings`,
        { method: 'POST', agent: this.#agent, headers },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const answer = Buffer.concat(chunks);
            if (response.statusCode === 200) resolve(answer);
            else reject(new Error(`${response.statusCode} ${answer.toString().slice(0, 300)}`));
          });
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  }

  /** Sends every body with `clients` of them under way at once. @returns the milliseconds of each, and the seconds of all. */
  async run(bodies: readonly Buffer[], clients: number): Promise<{ milliseconds: number[]; seconds: number }> {
    // New connections: a server may have closed those of minutes ago, and tell it only when they are used.
    this.#agent.destroy();
    const milliseconds: number[] = [];
    const left = bodies.values();
    const start = performance.now();
    const client = async (): Promise<void> => {
      for (const body of left) {
        const sentAt = performance.now();
        await this.post(body);
        milliseconds.push(performance.now() - sentAt);
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
    return { milliseconds, seconds: (performance.now() - start) / 1000 };
  }

  async vectors(texts: readonly string[]): Promise<Float32Array[]> {
    const { data } = JSON.parse((await this.post(this.body(texts))).toString()) as EmbeddingAnswer;
    if (data.length !== texts.length) throw new Error(`${data.length} vectors for ${texts.length} texts`);
    return [...data]
      .sort((a, b) => a.index - b.index)
      .map(({ embedding }) => new Float32Array(new Uint8Array(Buffer.from(embedding, 'base64')).buffer));
  }

  close(): void {
    this.#agent.destroy();
  }
}

export const slicesOf = (texts: readonly string[], size: number): (readonly string[])[] =>
  Array.from({ length: Math.ceil(texts.length / size) }, (_, i) => texts.slice(i * size, (i + 1) * size));
