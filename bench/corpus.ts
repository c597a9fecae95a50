/** The examples' papers as texts to embed: titles of about 16 tokens, abstracts of about 200. */
import { readFileSync } from 'node:fs';

export interface Paper {
  readonly title: string;
  readonly abstract: string;
}

/** Papers of examples/corpus/arxiv.json, whose texts are a title, a line end and an abstract. */
export function examplePapers(): Paper[] {
  const file = new URL('../examples/corpus/arxiv.json', import.meta.url);
  const { documents } = JSON.parse(readFileSync(file, 'utf8')) as { documents: { text: string }[] };
  return documents.map(({ text }) => {
    const [title = '', ...abstract] = text.split('\n');
    return { title, abstract: abstract.join('\n') };
  });
}

/** `count` texts: the given ones over and over, numbered so that none comes twice. */
export function withoutRepeats(texts: readonly string[], count: number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const turn = Math.floor(i / texts.length);
    return turn === 0 ? texts[i]! : `${turn} ${texts[i % texts.length]}`;
  });
}
