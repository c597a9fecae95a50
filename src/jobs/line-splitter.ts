/** Bytes of a pipe as lines. A line without end is cut: a process that writes no line break must not fill memory. */
import { StringDecoder } from 'node:string_decoder';

const LINE_CHARACTERS_MAX = 256 * 1024;

export class LineSplitter {
  private readonly decoder = new StringDecoder('utf8');
  private readonly each: (line: string) => void;
  private rest = '';

  constructor(each: (line: string) => void) {
    this.each = each;
  }

  push(bytes: Buffer): void {
    const lines = (this.rest + this.decoder.write(bytes)).split(/\r\n|\n|\r/);
    this.rest = lines.pop()!;
    for (const line of lines) this.give(line);
    if (this.rest.length > LINE_CHARACTERS_MAX) {
      this.give(this.rest);
      this.rest = '';
    }
  }

  /** What came after the last line break. */
  end(): void {
    if (this.rest !== '') this.give(this.rest);
    this.rest = '';
  }

  private give(line: string): void {
    if (line.trim() !== '') this.each(line.slice(0, LINE_CHARACTERS_MAX));
  }
}
