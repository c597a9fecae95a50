/** A model of a hub: its listing at one commit, and of that the files that an import reads and no others. */
import { rm, rmdir } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { HubApiError, type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub';
import { AnchorageError } from '../../errors.js';
import { externalDataFiles } from './external-data.js';
import { downloadHubFile, type HubAccess, libraryParams } from './hub-download.js';
import type { ModelFiles } from './model-files.js';
import { readOnnxFile } from './onnx-file.js';
import { chooseGraph, chooseTokenizer, type GraphChoice, safeFileName, safeRelativePath } from './source-files.js';

const HUB_NAME = /^([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95})(?:@([\w./-]{1,200}))?$/;
const COMMIT = /^[0-9a-f]{40}$/;
const LISTED_FILES_MAX = 20_000;
/** What is fetched besides graph and tokenizer; `1_Pooling/config.json` and `0_Transformer/…` are sentence-transformers'. */
const CONFIGURATION =
  /^((tokenizer_config|special_tokens_map|config|modules|sentence_bert_config|config_sentence_transformers)\.json|README\.md|LICENSE(\.txt|\.md)?|\d_[A-Za-z]+\/(config|sentence_bert_config)\.json)$/;

export interface HubChoice extends GraphChoice {
  readonly tokenizer?: string | undefined;
  /** Where downloads lie until the import is done, so that a stopped one goes on. */
  readonly downloadsDir: string;
}

export interface HubModel {
  readonly files: ModelFiles;
  /** The commit. */
  readonly revision: string;
  /** Removes the downloaded files. */
  readonly discard: () => Promise<void>;
}

/** `org/name` or `org/name@revision`; undefined where the text is neither. */
export function parseHubName(text: string): { name: string; revision: string | undefined } | undefined {
  const match = HUB_NAME.exec(text);
  return match ? { name: match[1]!, revision: match[2] } : undefined;
}

/** @param revision branch, tag or commit; the default branch where it is left out */
export async function fetchHubModel(
  access: HubAccess,
  { revision, ...choice }: HubChoice & { revision: string | undefined },
): Promise<HubModel> {
  const commit = await explained(access, () => resolveCommit(access, revision));
  const listing = await explained(access, () => list(access, commit));
  const paths = [...listing.keys()];
  const graph = chooseGraph(paths, choice);
  const tokenizer = chooseTokenizer(paths, graph, choice.tokenizer);
  const root = join(choice.downloadsDir, access.name.replace('/', '--'), commit);
  const download = async (path: string): Promise<string> => {
    const target = join(root, safeRelativePath(path));
    const entry = listing.get(path);
    if (!entry)
      throw new AnchorageError('MODEL_INVALID', `the graph needs ${path}, which ${access.name} does not have`);
    await downloadHubFile(access, { entry, revision: commit, target });
    return target;
  };
  for (const path of paths.filter((one) => CONFIGURATION.test(one))) await download(path);
  const files = {
    root,
    tokenizer: await download(tokenizer),
    graph: await download(graph),
    title: posix.basename(access.name),
  };
  for (const name of externalDataFiles(await readOnnxFile(files.graph))) {
    await download(posix.join(posix.dirname(graph), safeFileName(name)));
  }
  return { files, revision: commit, discard: () => removeDownloads(root, choice.downloadsDir) };
}

/** Removes the commit's folder, and those above it if nothing else is in them. */
async function removeDownloads(root: string, downloadsDir: string): Promise<void> {
  await rm(root, { recursive: true, force: true });
  for (const folder of [dirname(root), downloadsDir]) await rmdir(folder).catch(() => undefined);
}

async function resolveCommit(access: HubAccess, revision: string | undefined): Promise<string> {
  const { repo, ...params } = libraryParams(access);
  const { sha } = await modelInfo({ ...params, name: repo, revision: revision ?? 'main', additionalFields: ['sha'] });
  if (!COMMIT.test(sha)) throw new Error('the hub names no commit');
  return sha;
}

async function list(access: HubAccess, revision: string): Promise<Map<string, ListFileEntry>> {
  const listing = new Map<string, ListFileEntry>();
  for await (const entry of listFiles({ ...libraryParams(access), revision, recursive: true })) {
    if (entry.type === 'file') listing.set(entry.path, entry);
    if (listing.size > LISTED_FILES_MAX) throw new Error(`it lists more than ${LISTED_FILES_MAX} files`);
  }
  return listing;
}

/** Says what a failed call means and what to do; tokens are in headers only, and so in no message. */
async function explained<T>({ name, token, endpoint }: HubAccess, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof AnchorageError || (error as Error).name === 'AbortError') throw error;
    const status = error instanceof HubApiError ? error.statusCode : undefined;
    const hub = endpoint ? new URL(endpoint).host : 'the Hugging Face hub';
    const access = token ? 'HF_TOKEN may not read it' : 'it needs a token (HF_TOKEN)';
    if (status === 401 || status === 403 || status === 404) {
      throw new AnchorageError('NOT_FOUND', `${hub} shows no model ${name}: there is none of that name, or ${access}`);
    }
    const { message, cause } = error as Error;
    const reason = cause instanceof Error && cause.message ? cause.message : message;
    throw new AnchorageError('NOT_FOUND', `${hub} gave no answer about ${name}: ${reason}`, { cause: error });
  }
}
