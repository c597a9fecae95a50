/** The plain log of one job: what the trainer wrote, line by line, bounded. */

import { once } from 'node:events';
import { createWriteStream, statSync, type WriteStream } from 'node:fs';

const BYTES_MAX = 64 * 1024 * 1024;
const LAST_LINES = 20;
const LINE_SHOWN_CHARACTERS = 500;

export class JobLog {
  private readonly stream: WriteStream;
  private bytes: number;
  private readonly last: string[] = [];
  private broken = false;

  constructor(file: string) {
    this.bytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    this.stream = createWriteStream(file, { flags: 'a' });
    // A full disk must not end the job for its log's sake; what the trainer itself cannot write, it says.
    this.stream.on('error', () => {
      this.broken = true;
    });
  }

  /** @param origin `out`, `err`, or `job` for the server's own words. */
  write(origin: 'out' | 'err' | 'job', line: string): void {
    if (origin === 'err') this.remember(line);
    const text = `${new Date().toISOString()} ${origin} ${line}\n`;
    if (this.broken || this.bytes > BYTES_MAX) return;
    this.bytes += Buffer.byteLength(text);
    this.stream.write(this.bytes > BYTES_MAX ? 'the log is full; the rest is left out\n' : text);
  }

  /** The last lines of standard error, oldest first. */
  get lastLines(): readonly string[] {
    return this.last;
  }

  /** A new program begins: what an earlier one said is not its fault. */
  forgetLastLines(): void {
    this.last.length = 0;
  }

  async close(): Promise<void> {
    if (this.broken) return;
    this.stream.end();
    await Promise.race([once(this.stream, 'close'), once(this.stream, 'error')]).catch(() => undefined);
  }

  private remember(line: string): void {
    this.last.push(line.slice(0, LINE_SHOWN_CHARACTERS));
    if (this.last.length > LAST_LINES) this.last.shift();
  }
}
