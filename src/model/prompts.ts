/** Prompts that a model was trained with, by the roles and tasks that its manifest names. */
import { AnchorageError } from '../errors.js';
import type { Embedder } from './embedder.js';
import type { Manifest } from './manifest.js';

/** @throws AnchorageError VALIDATION naming the prompts that the model has. */
export function promptNamed(name: string | undefined, manifest: Manifest): string {
  if (name === undefined) return '';
  const prompt = Object.hasOwn(manifest.prompts, name) ? manifest.prompts[name] : undefined;
  if (prompt !== undefined) return prompt;
  const known = Object.keys(manifest.prompts).map((one) => `"${one}"`);
  throw new AnchorageError(
    'VALIDATION',
    `the model has no prompt "${name}"; it has ${known.length === 0 ? 'none' : known.join(', ')}`,
    { field: 'prompt_name' },
  );
}

/** The named prompt, else the manifest's for this role, else none. */
export const promptFor = (role: string, name: string | undefined, manifest: Manifest): string =>
  promptNamed(name ?? (Object.hasOwn(manifest.prompts, role) ? role : undefined), manifest);

const SPECIAL_TOKENS_MAX = 4;

/**
 * Tokens of a text that fit the model beside the prompt and the special tokens; what goes beyond is cut off unseen.
 * @throws AnchorageError VALIDATION where the prompt leaves no room at all.
 */
export async function tokensBeside(prompt: string, embedder: Embedder): Promise<number> {
  const { maxTokens } = embedder.manifest;
  const taken = prompt === '' ? 0 : (await embedder.tokenize([prompt], { addSpecialTokens: false }))[0]!.length;
  const room = maxTokens - SPECIAL_TOKENS_MAX - taken;
  if (room > 0) return room;
  const message = `the prompt has ${taken} tokens and leaves no room for a text where the model takes ${maxTokens}`;
  throw new AnchorageError('VALIDATION', message, { field: 'prompt_name' });
}
