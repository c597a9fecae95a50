/** Where the texts of one request were, and when: from the first that enters a stage to the last that leaves it. */
import type { RequestStage, Tracer } from '../trace.js';
import type { EmbedTask } from './embed-task.js';

type EmbedStage = Exclude<RequestStage, 'parse' | 'serialize'>;

export class RequestStages {
  readonly #tracer: Tracer;
  readonly #request: number;
  readonly #startMs = performance.now();
  readonly #spans = new Map<EmbedStage, { startMs: number; endMs: number }>();
  #texts = 0;
  #tokens = 0;

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
    this.#request = tracer.request ?? tracer.newRequest();
  }

  /** A text has its values now. */
  textDone({ queuedAt, queueMs, poolMs, text, tokens }: EmbedTask): void {
    const now = performance.now();
    this.#texts++;
    this.#tokens += tokens;
    if (text !== undefined) this.#widen('tokenize', this.#startMs, queuedAt);
    this.#widen('queue', queuedAt, queuedAt + queueMs);
    this.#widen('inference', queuedAt + queueMs, now - poolMs);
    this.#widen('pool', now - poolMs, now);
  }

  /** Writes what was gathered. */
  end(): void {
    const about = { texts: this.#texts, tokens: this.#tokens };
    for (const [name, span] of this.#spans) this.#tracer.stage(this.#request, name, span, about);
  }

  #widen(name: EmbedStage, startMs: number, endMs: number): void {
    const span = this.#spans.get(name);
    if (!span) this.#spans.set(name, { startMs, endMs });
    else {
      span.startMs = Math.min(span.startMs, startMs);
      span.endMs = Math.max(span.endMs, endMs);
    }
  }
}
