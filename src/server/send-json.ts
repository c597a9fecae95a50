/** Sends JSON that is made in pieces: small answers in one go with their length, large ones streamed with backpressure. */
import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FastifyReply } from 'fastify';

/** Below this an answer is made at once: under a millisecond of formatting. */
const AT_ONCE_BYTES_MAX = 256 * 1024;
const PIECE_BYTES = 64 * 1024;

/** @param sizeHintBytes about how long the whole will be. */
export function sendJsonPieces(reply: FastifyReply, pieces: Iterable<Buffer>, sizeHintBytes: number): FastifyReply {
  reply.type('application/json; charset=utf-8');
  if (sizeHintBytes <= AT_ONCE_BYTES_MAX) return reply.send(Buffer.concat([...pieces]));
  return reply.send(Readable.from(gathered(pieces), { objectMode: false }));
}

/** Joins small pieces and lets other requests have a turn of the event loop between large ones. */
async function* gathered(pieces: Iterable<Buffer>): AsyncGenerator<Buffer> {
  let waiting: Buffer[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    waiting.push(piece);
    bytes += piece.length;
    if (bytes < PIECE_BYTES) continue;
    yield waiting.length === 1 ? piece : Buffer.concat(waiting);
    waiting = [];
    bytes = 0;
    await nextTurn();
  }
  if (bytes > 0) yield Buffer.concat(waiting);
}
