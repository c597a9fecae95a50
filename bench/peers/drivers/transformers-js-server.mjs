/**
 * What a Node user writes first: @huggingface/transformers behind node:http, one pipeline call a request, in the process
 * that answers. usage: transformers-js-server.mjs PORT BATCH_SIZE PROJECT FOLDER THREADS DTYPE MAX_TOKENS mean|cls
 */
import { createServer } from 'node:http';
import { base64Of } from './line-driver.mjs';
import { loadTransformersJs } from './transformers-js.mjs';

const [port, batchSize, ...rest] = process.argv.slice(2);
const embed = await loadTransformersJs(rest);

async function embeddings(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { input } = JSON.parse(Buffer.concat(chunks));
  const vectors = await embed(input, Number(batchSize));
  return { object: 'list', data: vectors.map((row, index) => ({ index, embedding: base64Of([row]) })) };
}

createServer(async (request, response) => {
  try {
    const answer = JSON.stringify(await embeddings(request));
    response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
}).listen(Number(port), '127.0.0.1');
