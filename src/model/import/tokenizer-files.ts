/** The tokenizer of an imported model: its files in the version folder, and what they say about padding. */
import { copyFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Type } from 'typebox';
import { AnchorageError } from '../../errors.js';
import { TextTokenizer } from '../tokenizer.js';
import type { ModelFacts } from './model-facts.js';
import { type ModelFiles, readJsonFile } from './model-files.js';
import type { Padding } from './probe-batch.js';

/** The parts of a tokenizer.json that are read here. */
const TokenizerJson = Type.Object({
  added_tokens: Type.Array(Type.Object({ id: Type.Integer(), content: Type.String() })),
  padding: Type.Optional(
    Type.Union([
      Type.Null(),
      Type.Object({ pad_id: Type.Integer({ minimum: 0 }), direction: Type.Enum(['Right', 'Left']) }),
    ]),
  ),
});
/** Names that padding goes by where nothing says what it is called. */
const PAD_TOKENS = ['[PAD]', '<pad>', '<|endoftext|>'];

/**
 * Copies the tokenizer's files into `folder`; a tokenizer_config.json that is missing is made from what is known.
 * @returns the tokenizer as a server loads it
 */
export async function importTokenizer(
  files: ModelFiles,
  { facts, maxTokens, folder }: { facts: ModelFacts; maxTokens: number; folder: string },
): Promise<{ tokenizer: TextTokenizer; padding: Padding }> {
  const json = await readJsonFile(files.tokenizer, TokenizerJson);
  if (json === undefined) throw new AnchorageError('MODEL_INVALID', `${files.tokenizer} does not exist`);
  const idOf = new Map(json.added_tokens.map(({ id, content }) => [content, id]));
  const usual = PAD_TOKENS.find((token) => idOf.has(token)) ?? '';
  const padding: Padding = {
    padTokenId: idOf.get(facts.padToken ?? '') ?? json.padding?.pad_id ?? facts.padTokenId ?? idOf.get(usual) ?? 0,
    paddingSide: facts.paddingSide ?? (json.padding?.direction === 'Left' ? 'left' : 'right'),
  };
  await copyFile(files.tokenizer, join(folder, 'tokenizer.json'));
  await copyIfThere(join(dirname(files.tokenizer), 'special_tokens_map.json'), join(folder, 'special_tokens_map.json'));
  const copied = await copyIfThere(join(files.root, 'tokenizer_config.json'), join(folder, 'tokenizer_config.json'));
  if (!copied) {
    const padToken = json.added_tokens.find(({ id }) => id === padding.padTokenId)?.content ?? null;
    const config = { model_max_length: maxTokens, pad_token: padToken, padding_side: padding.paddingSide };
    await writeFile(join(folder, 'tokenizer_config.json'), `${JSON.stringify(config, null, 2)}\n`);
  }
  return { tokenizer: await loadTokenizer(folder), padding };
}

async function loadTokenizer(folder: string): Promise<TextTokenizer> {
  try {
    return await TextTokenizer.load(folder);
  } catch (error) {
    throw new AnchorageError('MODEL_INVALID', `its tokenizer cannot be served: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** @returns whether there was a file to copy */
export async function copyIfThere(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return false;
  }
}
