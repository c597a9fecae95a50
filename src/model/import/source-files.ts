/**
 * Which of a repository's files make the model. Local folders and hub listings are chosen from by the same rules, over
 * paths with forward slashes relative to the repository's root.
 */
import { AnchorageError } from '../../errors.js';

export interface GraphChoice {
  /** Path of the graph: `onnx/model_int8.onnx`. */
  readonly file?: string | undefined;
  /** Name of the graph without folder and ending: `model_int8`. */
  readonly variant?: string | undefined;
}

/** The graph asked for; or else onnx/model.onnx, model.onnx, or the only .onnx file there is. */
export function chooseGraph(files: readonly string[], { file, variant }: GraphChoice): string {
  const graphs = files.filter((path) => path.endsWith('.onnx'));
  const wanted = wantedGraphs({ file, variant });
  const found = wanted.find((path) => graphs.includes(path));
  if (found !== undefined) return found;
  if (graphs.length === 0) {
    throw new AnchorageError('MODEL_INVALID', 'there is no .onnx file; export one with `python -m trainer export`');
  }
  const only = graphs.length === 1 ? graphs[0] : undefined;
  if (only !== undefined && file === undefined && variant === undefined) return only;
  const asked = file ?? (variant === undefined ? 'onnx/model.onnx or model.onnx' : `variant ${variant}`);
  throw new AnchorageError('MODEL_INVALID', `no ${asked}; --file may name one of: ${graphs.sort().join(', ')}`);
}

function wantedGraphs({ file, variant }: GraphChoice): string[] {
  if (file !== undefined) return [file];
  const name = variant ?? 'model';
  return [`onnx/${name}.onnx`, `${name}.onnx`];
}

/** tokenizer.json of the repository, or the one that lies beside the graph under whatever name it has there. */
export function chooseTokenizer(files: readonly string[], graph: string, asked: string | undefined): string {
  const folder = graph.slice(0, graph.lastIndexOf('/') + 1);
  const stem = graph.slice(folder.length, -'.onnx'.length);
  const wanted =
    asked === undefined ? ['tokenizer.json', `${folder}tokenizer.json`, `${folder}${stem}-tokenizer.json`] : [asked];
  const found = wanted.find((path) => files.includes(path));
  if (found !== undefined) return found;
  const beside = files.filter((path) => path.startsWith(folder) && /tokenizer[^/]*\.json$/.test(path));
  const only = beside.filter((path) => !path.endsWith('tokenizer_config.json'));
  if (asked === undefined && only.length === 1) return only[0]!;
  const missing = asked ?? 'tokenizer.json';
  throw new AnchorageError(
    'MODEL_INVALID',
    `no ${missing}; a fast tokenizer's JSON is needed (--tokenizer names one), vocab.txt alone is not enough`,
  );
}

const SAFE_PART = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

/**
 * Refuses a path that could leave the folder it is put under, or mean something else in a URL. Names come from
 * listings, modules.json and graphs that strangers wrote.
 */
export function safeRelativePath(path: string): string {
  if (path.split('/').every((part) => SAFE_PART.test(part))) return path;
  throw new AnchorageError('MODEL_INVALID', `unsafe file name ${JSON.stringify(path)}: refused`);
}

/** A file name without any folder: external data is kept beside its graph. */
export function safeFileName(name: string): string {
  if (safeRelativePath(name).includes('/')) {
    throw new AnchorageError(
      'MODEL_INVALID',
      `the graph's external data ${name} lies in another folder: not supported`,
    );
  }
  return name;
}
