/**
 * From a model as others publish it to a version folder that a server loads:
 *
 * 1. read what its files say, and choose pooling, length and name;
 * 2. copy the tokenizer, and run the graph as it is over a padded batch: shapes tell which output is which;
 * 3. copy the graph, with received attention appended where it lacks it;
 * 4. run the copy and check it against the original;
 * 5. hash the files, write the manifest, and give the folder its name.
 *
 * Until the last step everything happens in a folder that is removed on any failure.
 */
import { readdir, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { AnchorageError } from '../../errors.js';
import type { Pooling } from '../../pooling/pool.js';
import { describeFile, type Manifest, manifestFingerprint, writeManifest } from '../manifest.js';
import { checkGraph, type GraphCheck, type Original, prepareTrial, type Trial, tryOriginal } from './check-graph.js';
import { copyExternalData } from './external-data.js';
import { graphInputs } from './graph-inputs.js';
import { outputFor } from './graph-outputs.js';
import { attentionUnavailable, type GraphPlan, planGraph, withoutAttention } from './graph-plan.js';
import { type ModelFacts, readModelFacts } from './model-facts.js';
import type { ModelFiles } from './model-files.js';
import { chooseMaxTokens, modelName, versionName } from './naming.js';
import { type OnnxFile, readOnnxFile, writeWithAddition } from './onnx-file.js';
import { choosePooling, type PoolingDecision, type PoolingRequest } from './pooling-choice.js';
import { weightPrecision } from './quantization.js';
import { joined } from './received-attention.js';
import { BATCH_INVARIANT_COSINE } from './self-check.js';
import { refuseExisting, stageVersion } from './staging.js';
import { copyIfThere, importTokenizer } from './tokenizer-files.js';

export interface ImportRequest extends PoolingRequest {
  readonly files: ModelFiles;
  /** Folder of the model versions. */
  readonly modelsDir: string;
  /** Where the model comes from, for the record: `org/name`, a path. */
  readonly origin: string;
  /** Commit of the origin. */
  readonly revision?: string | undefined;
  /** Who writes the manifest. */
  readonly tool: string;
  readonly name?: string | undefined;
  readonly version?: string | undefined;
  readonly maxTokens?: number | undefined;
  readonly queryPrompt?: string | undefined;
  readonly documentPrompt?: string | undefined;
  readonly license?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ImportedModel {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly check: GraphCheck;
  /** Why this pooling. */
  readonly poolingReason: string;
  /** Where received attention comes from, or why there is none. */
  readonly attention: string;
}

/** @throws AnchorageError MODEL_INVALID, CONFLICT or CONFIG_INVALID; nothing is left behind then */
export async function importModel(request: ImportRequest): Promise<ImportedModel> {
  const { files, modelsDir, signal } = request;
  const facts = await readModelFacts(files.root);
  const decision = choosePooling(request, facts.pooling);
  refuseFurtherModules(facts, decision);
  const name = modelName(request.name, files.title);
  const file = await readOnnxFile(files.graph);
  const precision = weightPrecision(file.model.graph);
  // Whether 8-bit weights are batch-invariant, which goes into their default version, only a run can tell.
  if (request.version !== undefined || precision !== 'int8') {
    await refuseExisting(join(modelsDir, name, versionName(request.version, precision)));
  }
  const { folder, written } = await stageVersion(modelsDir, async (staging) => {
    const graph = await importGraph(request, { facts, decision, file, staging });
    signal?.throwIfAborted();
    const manifest = await completeManifest(request, { facts, decision, name, graph, precision, staging });
    await writeManifest(staging, manifest);
    return { name, version: manifest.version, manifest, graph };
  });
  const { manifest, graph } = written;
  return { folder, manifest, check: graph.check, poolingReason: decision.reason, attention: graph.plan.attention };
}

interface Choices {
  readonly facts: ModelFacts;
  readonly decision: PoolingDecision;
  readonly staging: string;
}

interface ImportedGraph {
  readonly inputs: string[];
  readonly maxTokens: number;
  readonly dimensions: number;
  readonly trial: Trial;
  readonly plan: GraphPlan;
  readonly check: GraphCheck;
}

/** Steps 2 to 4. */
async function importGraph(request: ImportRequest, choices: Choices & { file: OnnxFile }): Promise<ImportedGraph> {
  const { facts, decision, file, staging } = choices;
  const inputs = graphInputs(file.model.graph);
  const maxTokens = chooseMaxTokens(request.maxTokens, facts);
  const { tokenizer, padding } = await importTokenizer(request.files, { facts, maxTokens, folder: staging });
  await copyExternalData(file, staging);
  const trial = prepareTrial(tokenizer, { inputs, padding, maxTokens });
  request.signal?.throwIfAborted();
  const original = await tryOriginal(file.path, trial);
  const dimensions = outputFor(decision.pooling.mode, original.known, original.outputs).dims.at(-1)!;
  const made = await makeGraph(request, { ...choices, original, trial });
  return { inputs, maxTokens, dimensions, trial, ...made };
}

/**
 * Steps 3 and 4. Where the attention that was found proves unusable and all else is well, poolings that do not read it
 * are served without it.
 */
async function makeGraph(
  { signal }: ImportRequest,
  made: Choices & { file: OnnxFile; original: Original; trial: Trial },
): Promise<{ plan: GraphPlan; check: GraphCheck }> {
  const { file, original, facts, decision } = made;
  const { mode } = decision.pooling;
  const target = join(made.staging, 'model.onnx');
  const attempt = async (plan: GraphPlan, pooling: Pooling) => {
    await writeWithAddition(file, { addition: joined(plan.additions), target, signal });
    const check = await checkGraph(target, { ...made, outputs: plan.outputs, pooling, heads: facts.heads });
    return { plan, check };
  };
  const plan = planGraph(file, original.known, mode);
  const hasAttention = plan.outputs.receivedAttention !== undefined;
  if (mode === 'ata' && !hasAttention) throw attentionUnavailable(plan.attention.replace('none: ', ''));
  try {
    return await attempt(plan, { gamma: 0, ...decision.pooling });
  } catch (error) {
    if (!(error instanceof AnchorageError) || !hasAttention) throw error;
    await rm(target, { force: true });
    const without = await attempt(withoutAttention(plan, error.message), {
      mode: mode === 'ata' ? 'mean' : mode,
      gamma: 0,
    });
    if (mode === 'ata') throw attentionUnavailable(error.message);
    return without;
  }
}

/** Step 5. */
async function completeManifest(
  request: ImportRequest,
  made: Choices & { name: string; graph: ImportedGraph; precision: string },
): Promise<Manifest> {
  const { files } = request;
  const { facts, decision, graph, precision, staging } = made;
  const batchInvariant = graph.check.batchCosine >= BATCH_INVARIANT_COSINE;
  // Plain "int8" promises batch invariance.
  const quantization = precision === 'int8' && !batchInvariant ? 'int8-dynamic' : precision;
  const hashed = await describeFiles(staging);
  await copyCard(files.root, staging);
  const { query, document, ...tasks } = facts.prompts;
  const manifest: Omit<Manifest, 'fingerprint'> = {
    schemaVersion: 1,
    name: made.name,
    version: versionName(request.version, quantization),
    architecture: facts.architecture ?? 'unknown',
    dimensions: graph.dimensions,
    matryoshkaDimensions: facts.matryoshkaDimensions.filter((size) => size < graph.dimensions),
    maxTokens: graph.maxTokens,
    pooling: decision.pooling,
    normalize: facts.normalize,
    inputs: graph.inputs,
    outputs: graph.plan.outputs,
    ...graph.trial.padding,
    prompts: {
      query: request.queryPrompt ?? query ?? '',
      document: request.documentPrompt ?? document ?? '',
      ...tasks,
    },
    quantization,
    batchInvariant,
    files: hashed,
    source: {
      origin: request.origin,
      ...(request.revision && { revision: request.revision }),
      file: relative(files.root, files.graph).replaceAll('\\', '/'),
      license: request.license ?? facts.license ?? 'unknown',
      tool: request.tool,
      ...(typeof facts.pooling === 'string' && { trainedPooling: facts.pooling }),
      receivedAttention: graph.plan.attention,
    },
    evaluation: [],
  };
  return { ...manifest, fingerprint: manifestFingerprint(manifest) };
}

async function describeFiles(folder: string): Promise<Manifest['files']> {
  const described: Manifest['files'] = {};
  for (const name of (await readdir(folder)).sort()) described[name] = await describeFile(join(folder, name));
  return described;
}

/** The model card and the licence go along, unhashed. */
async function copyCard(root: string, folder: string): Promise<void> {
  await copyIfThere(join(root, 'README.md'), join(folder, 'README.md'));
  for (const name of ['LICENSE.md', 'LICENSE.txt', 'LICENSE'])
    await copyIfThere(join(root, name), join(folder, 'LICENSE'));
}

/** Layers behind the pooling would be left out, and another embedding served than the model's. */
function refuseFurtherModules({ furtherModules }: ModelFacts, { pooling }: PoolingDecision): void {
  if (furtherModules.length === 0 || pooling.mode === 'graph') return;
  throw new AnchorageError(
    'MODEL_INVALID',
    `modules.json puts ${furtherModules.join(', ')} behind the pooling, which is not served; ` +
      'export a graph that holds it and use --pooling graph',
  );
}
