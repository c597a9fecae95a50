/**
 * Makes a checkout ready, needing nothing but Node: installs packages where node_modules is not what the lock file asks for,
 * and builds when a source changed since the last build. Does nothing, in milliseconds, where all is there; so a checkout
 * whose packages are installed works offline.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative, hashOf } from './native.mjs';

const NODE_MIN = { major: 20, minor: 12 };
/** Which Node's binary interface the addons were installed for. */
const ABI_STAMP = join('node_modules', '.anchorage-abi');
export const root = fileURLToPath(new URL('..', import.meta.url));
const inRoot = (...parts) => join(root, ...parts);

export function prepare() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < NODE_MIN.major || (major === NODE_MIN.major && minor < NODE_MIN.minor)) {
    fail(`Node ${NODE_MIN.major}.${NODE_MIN.minor} or newer is needed; this is ${process.versions.node}`);
  }
  installWhenStale();
  buildWhenStale();
  const missing = buildNative();
  if (missing) say(`int8 models are computed in ONNX Runtime, for want of the native encoder: ${missing}`);
}

function installWhenStale() {
  if (installedAsLocked()) return;
  say('installing packages (native addons may be compiled: a minute or two the first time)');
  // What the build needs is wanted also where NODE_ENV says production. On Windows npm is a script, which needs a shell.
  const args = ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  run('npm', args, 'npm ci', { shell: process.platform === 'win32' });
  writeFileSync(inRoot(ABI_STAMP), process.versions.modules);
}

/**
 * Whether node_modules holds what package-lock.json asks for, by the lock file that npm keeps inside it; an optional package
 * that does not fit this machine may be missing. Addons that were compiled for another Node do not count.
 */
function installedAsLocked() {
  const installed = readJson(inRoot('node_modules', '.package-lock.json'))?.packages;
  if (!installed) return false;
  const stamp = inRoot(ABI_STAMP);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') !== process.versions.modules) return false;
  return Object.entries(readJson(inRoot('package-lock.json')).packages).every(([path, wanted]) => {
    if (path === '') return true;
    const found = installed[path];
    return found ? found.version === wanted.version : wanted.optional === true;
  });
}

function readJson(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}

function buildWhenStale() {
  const stamp = inRoot('dist', '.anchorage-built');
  const wanted = hashOf([
    ...filesUnder(inRoot('src')),
    inRoot('tsconfig.json'),
    inRoot('tsconfig.build.json'),
    inRoot('package-lock.json'),
  ]);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('building');
  // Aside, so that a build that fails leaves the one before.
  const unfinished = inRoot('node_modules', '.anchorage-dist');
  rmSync(unfinished, { recursive: true, force: true });
  const tsc = inRoot('node_modules', 'typescript', 'bin', 'tsc');
  run(process.execPath, [tsc, '-p', inRoot('tsconfig.build.json'), '--outDir', unfinished], 'the build');
  writeFileSync(join(unfinished, '.anchorage-built'), wanted);
  rmSync(inRoot('dist'), { recursive: true, force: true });
  renameSync(unfinished, inRoot('dist'));
}

function filesUnder(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function run(command, args, what, options = {}) {
  // Standard output belongs to the program that is started next, so a tool's own output goes to standard error.
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (status !== 0)
    fail(`${what} failed${error ? `: ${error.message}` : ` with exit code ${status}`}; its output is above`);
}

const say = (line) => process.stderr.write(`anchorage: ${line}\n`);

function fail(line) {
  say(line);
  process.exit(1);
}
