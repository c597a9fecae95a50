/** A model as it lies on this machine before it is imported: where its graph, tokenizer and configuration files are. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { type Static, type TSchema, Type } from 'typebox';
import { Value } from 'typebox/value';
import { AnchorageError } from '../../errors.js';
import { chooseGraph, chooseTokenizer, type GraphChoice } from './source-files.js';

export interface ModelFiles {
  /** The folder that configuration files are looked for in. */
  readonly root: string;
  /** Path of the ONNX graph. */
  readonly graph: string;
  /** Path of the tokenizer's JSON. */
  readonly tokenizer: string;
  /** What the model is called where it comes from: the folder's or the bare graph's name. */
  readonly title: string;
}

export interface LocalChoice extends GraphChoice {
  /** Path of the tokenizer's JSON, relative to the working directory or to the model's folder. */
  readonly tokenizer?: string | undefined;
}

/** Finds a model in a folder of Hugging Face layout, or around a bare .onnx file. */
export async function findModelFiles(path: string, choice: LocalChoice): Promise<ModelFiles> {
  const place = resolve(path);
  const isFolder = (await stat(place).catch(() => undefined))?.isDirectory();
  if (isFolder === undefined) throw new AnchorageError('MODEL_INVALID', `${path} does not exist`);
  if (!isFolder && !place.endsWith('.onnx')) {
    throw new AnchorageError('MODEL_INVALID', `${path} is neither a folder nor an .onnx file`);
  }
  const root = isFolder ? place : await rootOf(dirname(place));
  const files = await listModelFiles(root);
  const graph = chooseGraph(files, isFolder ? choice : { file: unix(relative(root, place)) });
  const tokenizer = await tokenizerPath({ root, files, graph, asked: choice.tokenizer });
  const title = isFolder || graph.startsWith('onnx/') ? basename(root) : basename(graph, '.onnx');
  return { root, graph: join(root, graph), tokenizer, title };
}

/** A graph in a folder `onnx` belongs to the folder above, if the rest of the model lies there. */
async function rootOf(folder: string): Promise<string> {
  const above = dirname(folder);
  if (basename(folder) !== 'onnx') return folder;
  const isRoot = await stat(join(above, 'tokenizer.json')).catch(() => undefined);
  return isRoot ? above : folder;
}

/** Files of the root and of its folders, one level deep, which is as far as the layout goes. */
async function listModelFiles(root: string): Promise<string[]> {
  const files: string[] = [];
  for (const entry of await readdir(root, { withFileTypes: true })) {
    if (!entry.isDirectory()) files.push(entry.name);
    else files.push(...(await readdir(join(root, entry.name))).map((name) => `${entry.name}/${name}`));
  }
  return files;
}

async function tokenizerPath(search: { root: string; files: string[]; graph: string; asked: string | undefined }) {
  const { root, files, graph, asked } = search;
  if (asked !== undefined && (await stat(resolve(asked)).catch(() => undefined))?.isFile()) return resolve(asked);
  return join(root, chooseTokenizer(files, graph, asked));
}

const unix = (path: string): string => path.split(sep).join('/');

/**
 * Reads one of the files that others wrote, and checks the keys that are read here; the rest of it is theirs.
 * @returns undefined where the file does not exist
 */
export async function readJsonFile<T extends TSchema>(path: string, schema: T): Promise<Static<T> | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw new AnchorageError('MODEL_INVALID', `cannot read ${path}: ${error.message}`);
  });
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new AnchorageError('MODEL_INVALID', `${path} is not JSON: ${(error as Error).message}`);
  }
  if (Value.Check(schema, value)) return value;
  const fault = Value.Errors(schema, value)[0];
  throw new AnchorageError('MODEL_INVALID', `${path}: ${fault?.instancePath.slice(1) || 'it'} ${fault?.message}`);
}

/** Any JSON object. */
export const JsonObject = Type.Record(Type.String(), Type.Unknown());
