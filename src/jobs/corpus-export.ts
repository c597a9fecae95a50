/** The texts of a collection that is being served, as a corpus file for the trainer: {_id, title, text}, a document a line. */
import { open, rename } from 'node:fs/promises';
import type { Collection } from '../index/collection.js';
import { JobFailure } from './job.js';
import type { JobContext } from './job-context.js';

const DOCUMENTS_A_PAGE = 500;

/** @returns how many documents were written; those without a text are left out. @throws JobFailure where none has one. */
export async function exportCorpus(collection: Collection, file: string, context: JobContext): Promise<number> {
  const { documents: total } = await collection.info();
  const staging = `${file}.part`;
  const output = await open(staging, 'w');
  let written = 0;
  let seen = 0;
  let cursor: string | undefined;
  try {
    do {
      context.throwIfStopped();
      const page = await collection.query({ limit: DOCUMENTS_A_PAGE, ...(cursor === undefined ? {} : { cursor }) });
      const lines = page.documents.flatMap(({ id, text, metadata }) => {
        if (text === undefined) return [];
        const title = typeof metadata?.title === 'string' ? metadata.title : '';
        return [`${JSON.stringify({ _id: id, title, text })}\n`];
      });
      await output.write(lines.join(''));
      written += lines.length;
      seen += page.documents.length;
      cursor = page.cursor;
      context.at('export texts', seen / Math.max(1, total));
    } while (cursor !== undefined);
    await output.sync();
  } finally {
    await output.close();
  }
  if (written === 0) {
    throw new JobFailure(
      'input',
      `collection ${collection.name} holds no texts (${total} documents): there is nothing to learn from`,
    );
  }
  await rename(staging, file);
  return written;
}
