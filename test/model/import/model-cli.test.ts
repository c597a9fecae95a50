/** The command as a process: exit codes, what goes to which stream, and what is left on the disk. */
import { spawn } from 'node:child_process';
import { appendFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startHub } from './hub-server.js';
import { TOKENIZER, temporaryFolder, tinyModelFiles, writeFolder } from './tiny-model.js';

const CLI = fileURLToPath(new URL('../../../src/model-cli.ts', import.meta.url));
const TSX = import.meta.resolve('tsx');
const FILES = tinyModelFiles('mean_tokens');

/** Each command is a process that loads ONNX Runtime; a busy machine takes seconds for one. */
const PATIENCE = { timeout: 180_000 };

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Options {
  readonly modelsDir: string;
  readonly env?: Record<string, string>;
  /** Resolves when the process is to get SIGINT. */
  readonly interruptAt?: Promise<void>;
}

function model(args: string[], { modelsDir, env = {}, interruptAt }: Options): Promise<Run> {
  const child = spawn(process.execPath, ['--import', TSX, CLI, ...args], {
    env: { PATH: process.env.PATH, ANCHORAGE_MODELS_DIR: modelsDir, ...env },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  void interruptAt?.then(() => child.kill('SIGINT'));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
}

describe('npm run model', PATIENCE, () => {
  it('imports, lists and verifies, and finds a byte that changed', async () => {
    const modelsDir = await temporaryFolder();
    const folder = await writeFolder(FILES);
    const imported = await model(['import', folder, '--name', 'tiny'], { modelsDir });
    expect(imported).toMatchObject({ code: 0, stderr: '' });
    expect(imported.stdout).toMatch(/pooling +ata gamma 0\.5 \(trained with mean pooling/);
    expect(imported.stdout).toMatch(/serve +npm start -- --model tiny@1-float32/);

    const list = await model(['list'], { modelsDir });
    expect(list.code).toBe(0);
    expect(list.stdout).toMatch(/^tiny@1-float32 +ata gamma 0\.5 +8 +float32 +yes +[\d.]+ kB$/m);
    expect(await model(['verify', 'tiny'], { modelsDir })).toMatchObject({ code: 0, stdout: 'tiny@1-float32 ok\n' });

    await appendFile(join(modelsDir, 'tiny/1-float32/model.onnx'), '!');
    const damaged = await model(['verify'], { modelsDir });
    expect(damaged.code).toBe(1);
    expect(damaged.stdout).toMatch(/^tiny@1-float32 FAILED: .+model\.onnx has \d+ bytes where manifest\.json says \d+/);
  });

  it('lists a broken version as broken, and the others all the same', async () => {
    const modelsDir = await temporaryFolder();
    await model(['import', await writeFolder(FILES), '--name', 'good'], { modelsDir });
    await model(['import', await writeFolder(FILES), '--name', 'bad'], { modelsDir });
    await writeFile(join(modelsDir, 'bad/1-float32/manifest.json'), '{}');
    const { code, stdout, stderr } = await model(['list'], { modelsDir });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^bad@1-float32 +broken$/m);
    expect(stdout).toMatch(/^good@1-float32 +ata/m);
    expect(stderr).toMatch(/^error: .+manifest\.json/);
  });

  it('answers wrong usage with exit code 2 and one line', async () => {
    const { code, stdout, stderr } = await model(['import', 'a', '--forse'], { modelsDir: '.' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toBe("error: Unknown option '--forse' (--help explains)\n");
    expect((await model(['export'], { modelsDir: '.' })).stderr).toBe(
      'error: export: no such command (--help explains)\n',
    );
  });

  it('fails with exit code 1 and one line where the model is at fault', async () => {
    const modelsDir = await temporaryFolder();
    const { code, stderr } = await model(['import', await writeFolder({ 'tokenizer.json': TOKENIZER })], { modelsDir });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: there is no \.onnx file; .+\n$/);
  });

  it('explains itself', async () => {
    const { code, stdout } = await model(['import', '--help'], { modelsDir: '.' });
    expect(code).toBe(0);
    for (const word of ['--pooling', '--gamma', '--variant', 'HF_ENDPOINT', 'verify']) expect(stdout).toContain(word);
  });
});

describe('npm run model -- import org/name', PATIENCE, () => {
  it('fetches from HF_ENDPOINT with HF_TOKEN, shows progress, and never the token', async () => {
    const modelsDir = await temporaryFolder();
    const token = 'hf_verySecret';
    const hub = await startHub({ files: FILES, token });
    const env = { HF_ENDPOINT: `${hub.endpoint}/`, HF_TOKEN: token };
    const { code, stdout, stderr } = await model(['import', 'some/tiny-model'], { modelsDir, env });
    expect(code).toBe(0);
    expect(stderr).toMatch(/^onnx\/model\.onnx 13\.\d kB$/m);
    expect(stdout + stderr).not.toContain(token);
    expect(await readdir(modelsDir)).toEqual(['tiny-model']);
  });

  it('interrupted, leaves no version, and goes on with the same command', async () => {
    const modelsDir = await temporaryFolder();
    let cutNow = (): void => undefined;
    const interruptAt = new Promise<void>((resolve) => {
      cutNow = resolve;
    });
    const hub = await startHub({
      files: FILES,
      stall: { path: 'onnx/model.onnx', afterBytes: 3000, times: 1 },
      onStall: () => cutNow(),
    });
    const env = { HF_ENDPOINT: hub.endpoint };
    const { code, stderr } = await model(['import', 'some/tiny-model'], { modelsDir, env, interruptAt });
    expect(code).toBe(130);
    expect(stderr).toMatch(/^interrupted; nothing was imported$/m);
    expect(await readdir(modelsDir)).toEqual(['.downloads']);
    expect((await model(['import', 'some/tiny-model'], { modelsDir, env })).code).toBe(0);
    expect(await readdir(modelsDir)).toEqual(['tiny-model']);
  });
});
