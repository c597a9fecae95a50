/**
 * Embed titles with the OpenAI client, and find the nearest by cosine in this process: no index needed for a few hundred.
 *
 *   npx tsx examples/openai.ts [url]        the server's address; default http://127.0.0.1:8080
 */
import { readFile } from 'node:fs/promises';
import OpenAI from 'openai';

const url = process.argv[2] ?? 'http://127.0.0.1:8080';
// The client insists on a key; the server asks for one only where it was started with --api-keys.
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.OPENAI_API_KEY ?? 'none' });

async function embed(texts: string[]): Promise<number[][]> {
  // Any model name is accepted; the answer names the model that embedded.
  const { data } = await client.embeddings.create({ model: 'text-embedding-3-small', input: texts });
  return data.map(({ embedding }) => embedding);
}

/** Both of unit length, as the server gives them. */
const cosine = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);

const corpus: { documents: { metadata: { title: string } }[] } = JSON.parse(
  await readFile(new URL('corpus/arxiv.json', import.meta.url), 'utf8'),
);
const titles = corpus.documents.map(({ metadata }) => metadata.title);

const started = performance.now();
const vectors = await embed(titles);
const seconds = (performance.now() - started) / 1000;
console.log(`${titles.length} titles, ${vectors[0]!.length} dimensions each, in ${seconds.toFixed(1)} s`);

const queries = ['keeping a secret inside a picture', 'insects that teach us about computing', 'games of bluff'];
for (const [index, query] of (await embed(queries)).entries()) {
  const nearest = titles
    .map((title, at) => ({ title, score: cosine(query, vectors[at]!) }))
    .sort((a, b) => b.score - a.score)
    .slice(0, 3);
  console.log(`\n${queries[index]}`);
  for (const { title, score } of nearest) console.log(`  ${score.toFixed(4)}  ${title}`);
}
