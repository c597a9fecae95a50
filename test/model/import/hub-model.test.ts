import { access, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { FileProgress } from '../../../src/model/import/hub-download.js';
import { fetchHubModel, parseHubName } from '../../../src/model/import/hub-model.js';
import { importModel } from '../../../src/model/import/import-model.js';
import { COMMIT, type HubBehaviour, type HubServer, startHub } from './hub-server.js';
import { encoded, type FileContents, temporaryFolder, tinyModelFiles, withExternalData } from './tiny-model.js';

const FILES: FileContents = {
  ...tinyModelFiles('mean_tokens'),
  'pytorch_model.bin': 'never asked for',
  'onnx/model_quantized.onnx': 'never asked for',
};
const GRAPH = 'onnx/model.onnx';
const GRAPH_BYTES = encoded(FILES[GRAPH]).length;
const TOKEN = 'hf_thisIsASecret';

interface Attempt {
  readonly hub: HubServer;
  readonly downloadsDir: string;
  readonly token?: string;
  readonly signal?: AbortSignal;
  readonly progress?: FileProgress[];
}

function fetchTiny({ hub, downloadsDir, token, signal, progress = [] }: Attempt) {
  const access = {
    name: 'some/tiny-model',
    endpoint: hub.endpoint,
    token,
    signal,
    onProgress: (one: FileProgress) => progress.push(one),
  };
  return fetchHubModel(access, { revision: undefined, downloadsDir });
}

async function attempt(behaviour: HubBehaviour): Promise<Attempt> {
  return { hub: await startHub(behaviour), downloadsDir: join(await temporaryFolder(), '.downloads') };
}

describe('a hub name', () => {
  it.each([
    ['org/name', { name: 'org/name', revision: undefined }],
    ['org/na.me_1@v1.0', { name: 'org/na.me_1', revision: 'v1.0' }],
    ['org/name@refs/pr/1', { name: 'org/name', revision: 'refs/pr/1' }],
    ['name', undefined],
    ['./org/name', undefined],
    ['org/name/file', undefined],
    ['../name', undefined],
  ])('%s', (text, parsed) => expect(parseHubName(text)).toEqual(parsed));
});

describe('a model of a hub', () => {
  it('is fetched at one commit, and only the files that an import reads', async () => {
    const one = await attempt({ files: FILES });
    const { files, revision } = await fetchTiny(one);
    expect(revision).toBe(COMMIT);
    expect(files.title).toBe('tiny-model');
    const expected = Object.keys(FILES).filter(
      (path) => !['pytorch_model.bin', 'onnx/model_quantized.onnx'].includes(path),
    );
    expect([...one.hub.contentRequests].sort()).toEqual(expected.sort());
    for (const path of expected)
      expect(await readFile(join(files.root, path))).toEqual(Buffer.from(encoded(FILES[path])));
  });

  it('is imported, and its downloads removed', async () => {
    const one = await attempt({ files: FILES });
    const modelsDir = join(one.downloadsDir, '..');
    const { files, revision, discard } = await fetchTiny(one);
    const { manifest } = await importModel({ files, revision, modelsDir, origin: 'some/tiny-model', tool: 'test' });
    await discard();
    expect(manifest.source).toMatchObject({ origin: 'some/tiny-model', revision: COMMIT, license: 'apache-2.0' });
    expect(await readdir(modelsDir)).toEqual(['tiny-model']);
  });

  it('brings the data that lies beside its graph', async () => {
    const one = await attempt({ files: withExternalData(FILES) });
    const { files } = await fetchTiny(one);
    await access(join(files.root, 'onnx/model.onnx_data'));
  });

  it('shows how far each file is', async () => {
    const progress: FileProgress[] = [];
    await fetchTiny({ ...(await attempt({ files: FILES })), progress });
    const graph = progress.filter(({ path }) => path === GRAPH);
    expect(graph.at(-1)).toEqual({ path: GRAPH, receivedBytes: GRAPH_BYTES, totalBytes: GRAPH_BYTES });
  });
});

describe('a download that stops', () => {
  const partialGraph = ({ downloadsDir }: Attempt) =>
    join(downloadsDir, 'some--tiny-model', COMMIT, `${GRAPH}.partial`);
  const arrived = (one: Attempt, bytes: number) =>
    vi.waitFor(async () => expect((await stat(partialGraph(one))).size).toBe(bytes), { timeout: 10_000 });
  const graphRequests = ({ hub }: Attempt) => hub.contentRequests.filter((request) => request.startsWith(GRAPH));
  const whole = Buffer.from(encoded(FILES[GRAPH]));

  it('goes on by itself from the byte where the connection was cut', async () => {
    const one = await attempt({ files: FILES, stall: { path: GRAPH, afterBytes: 1000, times: 1 } });
    const fetching = fetchTiny(one);
    await arrived(one, 1000);
    one.hub.cutConnections();
    expect(await readFile((await fetching).files.graph)).toEqual(whole);
    expect(graphRequests(one)).toEqual([GRAPH, `${GRAPH} bytes=1000-${GRAPH_BYTES - 1}`]);
  });

  it('goes on with the next command where it was interrupted', async () => {
    const abort = new AbortController();
    const one = await attempt({ files: FILES, stall: { path: GRAPH, afterBytes: 2000, times: 1 } });
    const fetching = fetchTiny({ ...one, signal: abort.signal });
    fetching.catch(() => undefined);
    await arrived(one, 2000);
    abort.abort();
    await expect(fetching).rejects.toThrow(/abort/);
    expect(await readFile((await fetchTiny(one)).files.graph)).toEqual(whole);
    expect(graphRequests(one)).toEqual([GRAPH, `${GRAPH} bytes=2000-${GRAPH_BYTES - 1}`]);
  });

  it('says how far it came where every try is cut', async () => {
    const one = await attempt({ files: FILES, cut: { path: GRAPH, afterBytes: 10, times: 100 } });
    await expect(fetchTiny(one)).rejects.toThrow(
      new RegExp(
        `the download of ${GRAPH} stopped at \\d+ of ${GRAPH_BYTES} bytes .+ the same command goes on from there`,
      ),
    );
    expect(graphRequests(one)).toHaveLength(4);
  });

  it('is thrown away where the content has not the hash that is listed', async () => {
    const one = await attempt({ files: FILES, wrongHash: GRAPH });
    await expect(fetchTiny(one)).rejects.toThrow(/onnx\/model\.onnx came with hash [0-9a-f]{64} where the hub lists/);
    const folder = join(one.downloadsDir, 'some--tiny-model', COMMIT, 'onnx');
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('a token', () => {
  it('goes with every request', async () => {
    const one = await attempt({ files: FILES, token: TOKEN });
    await fetchTiny({ ...one, token: TOKEN });
    expect([...one.hub.authorizations]).toEqual([`Bearer ${TOKEN}`]);
  });

  it('is asked for where there is none, and named nowhere where it is wrong', async () => {
    const one = await attempt({ files: FILES, token: TOKEN });
    await expect(fetchTiny(one)).rejects.toThrow(/shows no model some\/tiny-model: .+ it needs a token \(HF_TOKEN\)/);
    const wrong = await fetchTiny({ ...one, token: 'hf_wrongSecret' }).catch((error: Error) => error);
    expect(wrong).toBeInstanceOf(Error);
    expect(JSON.stringify(wrong, Object.getOwnPropertyNames(wrong))).not.toContain('hf_wrongSecret');
    expect((wrong as Error).message).toMatch(/HF_TOKEN may not read it/);
  });
});

describe('a hub that is not to be trusted or not there', () => {
  it.each(['onnx/../../../evil.onnx', '/evil.onnx', 'onnx\\..\\evil.onnx', 'onnx/ev%2fil.onnx'])(
    'cannot write outside the folder by listing %s',
    async (path) => {
      const { [GRAPH]: graph, 'onnx/model_quantized.onnx': _, ...others } = FILES;
      const one = await attempt({ files: { ...others, [path]: graph } });
      await expect(fetchTiny(one)).rejects.toThrow(/unsafe file name .+: refused/);
      await expect(stat(join(one.downloadsDir, '..', 'evil.onnx'))).rejects.toThrow(/ENOENT/);
    },
  );

  it('is named where it cannot be reached', async () => {
    const { hub } = await attempt({ files: FILES });
    const nowhere = { ...hub, endpoint: 'http://127.0.0.1:9' };
    await expect(fetchTiny({ hub: nowhere, downloadsDir: await temporaryFolder() })).rejects.toThrow(
      /127\.0\.0\.1:9 gave no answer about some\/tiny-model/,
    );
  });
});
