/**
 * A trace of requests through their stages, in the trace-event format that chrome://tracing and ui.perfetto.dev open:
 *
 *   [
 *   {"name":"inference","cat":"batch","ph":"X","ts":812345,"dur":9120,"pid":7,"tid":2,"args":{"texts":8,"tokens":128}},
 *   {"name":"queue","cat":"request","ph":"b","ts":…,"id":"17/queue","pid":7,"tid":0,"args":{"request":17}},
 *   {"name":"queue","cat":"request","ph":"e","ts":…,"id":"17/queue","pid":7,"tid":0},
 *   …
 *   ]
 *
 * What a thread does, one thing at a time, is a complete event ("X") on that thread's line. A stage of a request is a pair
 * of asynchronous events ("b", "e") on a line of its own, because its texts are in several stages at once: it lasts from
 * where the first of them enters it to where the last leaves it. Times are microseconds since the process began.
 *
 * Always true: the file is JSON once the tracer is closed (the viewers also take one whose process was killed), and
 * never longer than `bytesMax`: what comes later is left out.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';

/** The stages of a request, in order. */
export const REQUEST_STAGES = ['parse', 'tokenize', 'queue', 'inference', 'pool', 'serialize'] as const;
export type RequestStage = (typeof REQUEST_STAGES)[number];

/** A stretch of time, in milliseconds as performance.now() counts them. */
export interface Span {
  readonly startMs: number;
  readonly endMs: number;
}

const BYTES_MAX = 256 * 1024 * 1024;

export class Tracer {
  readonly #file: WriteStream;
  readonly #current = new AsyncLocalStorage<number>();
  readonly #threads = new Map<string, number>();
  readonly #bytesMax: number;
  #bytes = 0;
  #lastRequest = 0;

  /** Begins a file, in place of one that is there. @throws what opening it for writing throws. */
  static async open(path: string, bytesMax = BYTES_MAX): Promise<Tracer> {
    const file = createWriteStream(path, { mode: 0o600 });
    await once(file, 'open');
    return new Tracer(file, bytesMax);
  }

  private constructor(file: WriteStream, bytesMax: number) {
    this.#file = file;
    this.#bytesMax = bytesMax;
    file.write('[\n');
    this.#write({ name: 'process_name', ph: 'M', args: { name: 'anchorage' } });
  }

  /** A number for a request that begins. */
  newRequest(): number {
    return ++this.#lastRequest;
  }

  /** Runs `next`, and all that it awaits, as work for this request. */
  during(request: number, next: () => void): void {
    this.#current.run(request, next);
  }

  /** The request that the running code works for; undefined outside of any. */
  get request(): number | undefined {
    return this.#current.getStore();
  }

  /** One stage of a request. `about` says more of it, in numbers and short words. */
  stage(request: number, name: RequestStage, { startMs, endMs }: Span, about: object = {}): void {
    const event = { name, cat: 'request', id: `${request}/${name}`, tid: 0 };
    this.#write({ ...event, ph: 'b', ts: microseconds(startMs), args: { request, ...about } });
    this.#write({ ...event, ph: 'e', ts: microseconds(Math.max(startMs, endMs)) });
  }

  /** What a thread did. */
  work(thread: string, name: string, { startMs, endMs }: Span, about: object = {}): void {
    const ts = microseconds(startMs);
    const dur = Math.max(0, microseconds(endMs) - ts);
    this.#write({ name, cat: 'batch', ph: 'X', ts, dur, tid: this.#idOf(thread), args: about });
  }

  /** Ends the file; nothing may be traced after. */
  async close(): Promise<void> {
    this.#file.end(
      `${JSON.stringify({ name: 'end', ph: 'i', s: 'g', ts: microseconds(performance.now()), pid: process.pid, tid: 0 })}\n]\n`,
    );
    await once(this.#file, 'close');
  }

  #idOf(thread: string): number {
    const known = this.#threads.get(thread);
    if (known !== undefined) return known;
    const id = this.#threads.size + 1;
    this.#threads.set(thread, id);
    this.#write({ name: 'thread_name', ph: 'M', tid: id, args: { name: thread } });
    return id;
  }

  #write(event: object): void {
    const line = `${JSON.stringify({ pid: process.pid, tid: 0, ...event })},\n`;
    this.#bytes += line.length;
    if (this.#bytes <= this.#bytesMax) this.#file.write(line);
  }
}

const microseconds = (milliseconds: number): number => Math.round(milliseconds * 1000);
