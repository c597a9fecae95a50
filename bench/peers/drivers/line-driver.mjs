/** The JavaScript side of a driver: questions are lines of JSON on standard input, answers lines on descriptor 3. */
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';

/** @param embed (texts, batchSize) -> float32 rows, one Float32Array a text. */
export async function serve(embed) {
  const out = createWriteStream('', { fd: 3 });
  const answer = (value) => out.write(`${JSON.stringify(value)}\n`);
  answer({ seconds: [] });
  for await (const line of createInterface(process.stdin)) {
    const { texts, batchSize, each, vectors: wanted } = JSON.parse(line);
    const seconds = [];
    const vectors = [];
    for (const group of each ? texts.map((text) => [text]) : [texts]) {
      const start = performance.now();
      vectors.push(...(await embed(group, batchSize)));
      seconds.push((performance.now() - start) / 1000);
    }
    answer({ seconds, ...(wanted && { vectors: base64Of(vectors) }) });
  }
  out.end();
}

/** Little-endian float32 of all vectors, as base64. */
export const base64Of = (vectors) =>
  Buffer.concat(vectors.map((row) => Buffer.from(row.buffer, row.byteOffset, row.byteLength))).toString('base64');
