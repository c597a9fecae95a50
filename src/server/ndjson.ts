/** Reads newline-delimited JSON from a stream, a line at a time: what was not yet read waits in the socket, not in memory. */
import { AnchorageError } from '../errors.js';

export interface Line {
  /** Counted from 1. */
  readonly number: number;
  readonly value: unknown;
}

/** @throws AnchorageError PAYLOAD_TOO_LARGE for a longer line, INVALID_JSON; both name the line. Empty lines are skipped. */
export async function* ndjsonLines(stream: AsyncIterable<Buffer>, lineBytesMax: number): AsyncGenerator<Line> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let number = 1;
  for await (const piece of stream) {
    let from = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, from)) {
      const line = Buffer.concat([...rest, piece.subarray(from, end)]);
      refuseLong(line.length, number, lineBytesMax);
      yield* parsed(line, number++);
      rest = [];
      restBytes = 0;
      from = end + 1;
    }
    rest.push(piece.subarray(from));
    restBytes += piece.length - from;
    refuseLong(restBytes, number, lineBytesMax);
  }
  yield* parsed(Buffer.concat(rest), number);
}

function* parsed(line: Buffer, number: number): Generator<Line> {
  const text = line.toString().trim();
  if (text === '') return;
  try {
    yield { number, value: JSON.parse(text) };
  } catch (error) {
    const message = `line ${number} is not JSON (${(error as Error).message}); lines before it may be stored, sending all again is harmless`;
    throw new AnchorageError('INVALID_JSON', message, { field: `line ${number}`, cause: error });
  }
}

function refuseLong(bytes: number, number: number, max: number): void {
  if (bytes <= max) return;
  throw new AnchorageError('PAYLOAD_TOO_LARGE', `line ${number} is longer than ${max} bytes`, {
    field: `line ${number}`,
  });
}
