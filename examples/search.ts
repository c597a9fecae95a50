/**
 * Index a few hundred abstracts and search them in three ways, with fetch alone.
 *
 *   npx tsx examples/search.ts [url]        the server's address; default http://127.0.0.1:8080
 */
import { readFile } from 'node:fs/promises';

const url = process.argv[2] ?? 'http://127.0.0.1:8080';

interface Result {
  readonly id: string;
  readonly score: number;
  readonly metadata: { readonly title: string; readonly words: number };
}
interface SearchAnswer {
  readonly results: readonly Result[];
  readonly timingsMs: { readonly embed: number; readonly total: number };
}

async function post<Answer>(path: string, body: object): Promise<Answer> {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as Answer;
}

async function search(title: string, request: object): Promise<void> {
  const { results, timingsMs } = await post<SearchAnswer>('/search', {
    collection: 'arxiv',
    k: 3,
    include: ['metadata'],
    ...request,
  });
  console.log(`\n${title} (${timingsMs.embed.toFixed(1)} ms to embed, ${timingsMs.total.toFixed(1)} ms to search)`);
  for (const { score, metadata } of results) console.log(`  ${score.toFixed(4)}  ${metadata.title}`);
}

const corpus: { documents: { text: string }[] } = JSON.parse(
  await readFile(new URL('corpus/arxiv.json', import.meta.url), 'utf8'),
);
const started = performance.now();
const { upserted } = await post<{ upserted: number }>('/documents', corpus);
console.log(`${upserted} abstracts stored in ${((performance.now() - started) / 1000).toFixed(1)} s`);

const query = 'how do robots recognise a place in different weather';
await search(`By meaning: ${query}`, { query, mode: 'dense' });
await search(`By words: ${query}`, { query, mode: 'sparse' });
await search(`By both: ${query}`, { query });
await search('Of less than 100 words: quantum computing', {
  query: 'quantum computing',
  filter: { words: { $lt: 100 } },
});

// A document is a query too: what is near to the third one?
const [like] = corpus.documents.slice(2);
await search(`Near to "${like!.text.split('\n')[0]}"`, { query: like!.text, mode: 'dense' });
