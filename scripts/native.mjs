/**
 * Compiles the encoder of native/ to native/build/encoder.node, with nothing but a C++ compiler: `node scripts/native.mjs`,
 * and every `npm start` and `npm test` where it is not there or a source changed. Without it the server computes in ONNX
 * Runtime, so what is missing is said, and stops nothing.
 *
 * Each file of kernels is compiled for the instructions it uses, and the rest for any x64 processor: what a processor has
 * is asked before a kernel is called.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'native');
const build = join(folder, 'build');
const stamp = join(build, 'built-from');

const COMMON = ['-std=c++17', '-O3', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-Werror=return-type'];
// GCC's own headers of intrinsics begin from values that are not there, on purpose.
const INTRINSICS = ['-Wno-uninitialized', '-Wno-maybe-uninitialized'];
const VNNI = ['avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512vnni', 'fma'];
const AMX = [...VNNI, 'avx512bf16', 'amx-tile', 'amx-int8', 'amx-bf16'];
const INSTRUCTIONS = { 'vnni.cc': VNNI, 'amx.cc': AMX };

/**
 * Compiles what is stale, or all where it is asked for anew; returns why there is no native encoder, undefined where there is
 * one. What could not be compiled is not tried again at every start, but with another compiler.
 */
export function buildNative({ anew = false } = {}) {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `there is none for ${process.platform} ${process.arch}`;
  const wanted = hashOf([...sources().map((name) => join(folder, name)), fileURLToPath(import.meta.url)]);
  const [hash, problemThen, compilerThen] = existsSync(stamp) ? readFileSync(stamp, 'utf8').split('\n') : [];
  const isSettled = !anew && hash === wanted;
  if (isSettled && !problemThen) return undefined;
  const { compiler, version } = findCompiler() ?? {};
  if (!compiler) return 'no C++ compiler (c++, g++, clang++ or $CXX) was found';
  if (isSettled && compilerThen === version) return problemThen;
  const headers = join(root, 'node_modules', 'node-api-headers', 'include');
  if (!existsSync(headers)) return 'the package node-api-headers is not installed';
  process.stderr.write('anchorage: compiling the native encoder\n');
  const problem = compile(compiler, headers);
  writeFileSync(stamp, [wanted, problem ?? '', version].join('\n'));
  return problem;
}

/** The first that answers; its version is one line. */
function findCompiler() {
  for (const compiler of [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean)) {
    const { status, stdout } = spawnSync(compiler, ['--version'], { encoding: 'utf8' });
    if (status === 0) return { compiler, version: `${compiler}: ${stdout.split('\n')[0]}` };
  }
  return undefined;
}

function compile(compiler, headers) {
  rmSync(build, { recursive: true, force: true });
  mkdirSync(build, { recursive: true });
  const objects = [];
  for (const source of sources().filter((name) => name.endsWith('.cc'))) {
    const object = join(build, source.replace(/\.cc$/, '.o'));
    const flags = (INSTRUCTIONS[source] ?? []).map((name) => `-m${name}`);
    const failed = run(compiler, [
      ...COMMON,
      ...INTRINSICS,
      ...flags,
      '-isystem',
      headers,
      '-c',
      join(folder, source),
      '-o',
      object,
    ]);
    if (failed) return `${source} could not be compiled: ${failed}`;
    objects.push(object);
  }
  // The system's C++ library may be missing where this is served.
  const linked = join(build, 'encoder.unfinished');
  const failed = run(compiler, ['-shared', '-static-libstdc++', '-static-libgcc', ...objects, '-o', linked]);
  for (const object of objects) rmSync(object);
  if (failed) return `it could not be linked: ${failed}`;
  renameSync(linked, join(build, 'encoder.node'));
  return undefined;
}

/** The first line of complaint, if the command failed. */
function run(command, args) {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return undefined;
  return stderr.split('\n').find((line) => line.includes('error')) ?? `${command} ended with exit code ${status}`;
}

const sources = () =>
  readdirSync(folder)
    .filter((name) => /\.(cc|h)$/.test(name))
    .sort();

/** Of names and contents. */
export function hashOf(files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(file.slice(root.length)).update('\0').update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problem = buildNative({ anew: true });
  process.stderr.write(
    problem ? `anchorage: no native encoder: ${problem}\n` : 'anchorage: the native encoder is there\n',
  );
  process.exitCode = problem ? 1 : 0;
}
