/**
 * `npm run model -- <command>`: imports model versions, lists them and verifies their files. Results go to standard
 * output, progress and errors to standard error. Exit code 0 when all went well, 1 on failure, 2 on wrong usage.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { forbidTelemetry, readConfig } from './config.js';
import { AnchorageError } from './errors.js';
import { type ImportFlags, importFlagsHelp, readImportFlags } from './model/import/flags.js';
import { fetchHubModel, parseHubName } from './model/import/hub-model.js';
import { type ImportedModel, type ImportRequest, importModel } from './model/import/import-model.js';
import { findModelFiles } from './model/import/model-files.js';
import { listModelVersions, type ModelVersion } from './model/import/model-versions.js';
import { fileSize, progressBar } from './model/import/progress-bar.js';
import { type Manifest, verifyFiles } from './model/manifest.js';
import { VERSION } from './version.js';

const HELP = `usage: npm run model -- <command>

  import <folder | file.onnx | org/name[@revision]> [flags]
      makes a model version of an ONNX text encoder in Hugging Face layout; a hub name is
      fetched from HF_ENDPOINT (default: Hugging Face), with HF_TOKEN where it needs one
  list
      shows the versions there are
  verify [name[@version]]
      hashes the files of all or some versions and compares them with their manifests

Flags of import:
${importFlagsHelp()}
`;

type Source = Pick<ImportRequest, 'files' | 'origin' | 'revision'> & { discard?: () => Promise<void> };

async function importCommand(argv: string[], modelsDir: string, signal: AbortSignal): Promise<number> {
  const flags = readImportFlags(argv);
  const output = flags.output ?? modelsDir;
  const source = await findSource(flags, output, signal);
  const imported = await importModel({ ...flags, ...source, modelsDir: output, tool: `anchorage ${VERSION}`, signal });
  await source.discard?.();
  process.stdout.write(summary(imported));
  return 0;
}

async function findSource(flags: ImportFlags, output: string, signal: AbortSignal): Promise<Source> {
  const { source } = flags;
  const hubName = existsSync(source) ? undefined : parseHubName(source);
  if (!hubName) {
    const files = await findModelFiles(source, flags);
    return { files, origin: files.title };
  }
  const endpoint = process.env.HF_ENDPOINT?.replace(/\/+$/, '') || undefined;
  if (endpoint !== undefined && !URL.canParse(endpoint)) {
    throw new AnchorageError('CONFIG_INVALID', 'HF_ENDPOINT is not a URL');
  }
  const token = process.env.HF_TOKEN || undefined;
  const onProgress = progressBar(process.stderr);
  const fetched = await fetchHubModel(
    { name: hubName.name, endpoint, token, signal, onProgress },
    { ...flags, revision: hubName.revision, downloadsDir: join(output, '.downloads') },
  );
  return { ...fetched, origin: hubName.name };
}

function summary({ folder, manifest, check, poolingReason, attention }: ImportedModel): string {
  const cosine = check.batchCosine.toFixed(7);
  const rows = {
    imported: folder,
    graph: `${manifest.quantization}, ${manifest.dimensions} dimensions, ${manifest.maxTokens} tokens`,
    pooling: `${poolingText(manifest)} (${poolingReason})`,
    attention: check.heads === undefined ? attention : `${attention}; ${check.heads} heads`,
    'hidden states': hiddenStatesText(check.hiddenStatesDifference),
    batches: `cosine ${cosine} alone and in a mixed batch: ${manifest.batchInvariant ? '' : 'not '}batch-invariant`,
    license: manifest.source.license ?? 'unknown',
    serve: `npm start -- --model ${manifest.name}@${manifest.version}`,
  };
  return Object.entries(rows)
    .map(([label, text]) => `${label.padEnd(14)} ${text}\n`)
    .join('');
}

const hiddenStatesText = (difference: number | undefined): string =>
  difference === undefined ? 'none' : `as in the original graph (largest relative difference ${difference})`;

const poolingText = ({ pooling }: Manifest): string =>
  pooling.mode === 'ata' ? `ata gamma ${pooling.gamma}` : pooling.mode;

async function listCommand(modelsDir: string): Promise<number> {
  const versions = await listModelVersions(modelsDir);
  const head = ['model', 'pooling', 'dimensions', 'weights', 'batch-invariant', 'size'];
  const rows = [head, ...versions.map(listRow)];
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows) {
    const cells = row.map((cell, column) => cell.padEnd(column === row.length - 1 ? 0 : widths[column]!));
    process.stdout.write(`${cells.join('  ')}\n`);
  }
  for (const { manifest } of versions) {
    if (manifest instanceof AnchorageError) process.stderr.write(`error: ${manifest.message}\n`);
  }
  return versions.some(({ manifest }) => manifest instanceof AnchorageError) ? 1 : 0;
}

function listRow({ id, manifest }: ModelVersion): string[] {
  if (manifest instanceof AnchorageError) return [id, 'broken'];
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  const invariant = manifest.batchInvariant ? 'yes' : 'no';
  return [id, poolingText(manifest), `${manifest.dimensions}`, manifest.quantization, invariant, fileSize(bytes)];
}

async function verifyCommand([wanted]: string[], modelsDir: string): Promise<number> {
  const versions = (await listModelVersions(modelsDir)).filter(({ id }) => matches(id, wanted));
  if (versions.length === 0) throw new AnchorageError('NOT_FOUND', `${modelsDir} holds no model ${wanted ?? 'at all'}`);
  let failures = 0;
  for (const version of versions) {
    const fault = await faultOf(version);
    if (fault) failures++;
    process.stdout.write(`${version.id} ${fault ? `FAILED: ${fault.message}` : 'ok'}\n`);
  }
  return failures > 0 ? 1 : 0;
}

const matches = (id: string, wanted: string | undefined): boolean =>
  wanted === undefined || id === wanted || id.startsWith(`${wanted}@`);

async function faultOf({ folder, manifest }: ModelVersion): Promise<AnchorageError | undefined> {
  if (manifest instanceof AnchorageError) return manifest;
  try {
    await verifyFiles(folder, manifest);
    return undefined;
  } catch (error) {
    if (error instanceof AnchorageError) return error;
    throw error;
  }
}

async function run([command, ...rest]: string[], signal: AbortSignal): Promise<number> {
  if (command === undefined || [command, ...rest].some((word) => word === '--help' || word === '-h')) {
    process.stdout.write(HELP);
    return command === undefined ? 2 : 0;
  }
  forbidTelemetry(process.env);
  const config = readConfig({ argv: [], env: process.env });
  const modelsDir = config === 'help' ? '' : config.modelsDir;
  if (command === 'import') return importCommand(rest, modelsDir, signal);
  if (command === 'list' && rest.length === 0) return listCommand(modelsDir);
  if (command === 'verify' && rest.length <= 1 && !rest[0]?.startsWith('-')) return verifyCommand(rest, modelsDir);
  throw new AnchorageError('CONFIG_INVALID', `${[command, ...rest].join(' ')}: no such command`);
}

async function main(): Promise<void> {
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());
  try {
    process.exitCode = await run(process.argv.slice(2), abort.signal);
  } catch (error) {
    if (abort.signal.aborted) {
      process.stderr.write('interrupted; nothing was imported\n');
      process.exitCode = 130;
      return;
    }
    if (!(error instanceof AnchorageError)) throw error;
    const usage = error.code === 'CONFIG_INVALID';
    process.stderr.write(`error: ${error.message}${usage ? ' (--help explains)' : ''}\n`);
    process.exitCode = usage ? 2 : 1;
  }
}

await main();
