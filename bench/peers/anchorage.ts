/** Anchorage itself, as a user starts it: every version of the model that lies under models/, the embedding cache on. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Manifest } from '../../src/model/manifest.js';
import { startServer } from '../server-process.js';
import type { Peer } from './peer.js';
import { overHttp } from './server-peer.js';

const MODEL = 'all-minilm-l6-v2';
const VERSIONS = fileURLToPath(new URL(`../../models/${MODEL}/`, import.meta.url));

/** @param counter a metric without labels, or all of its series together. */
async function sumOf(url: string, counter: string): Promise<number> {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n');
  const values = lines.filter((line) => line.startsWith(`${counter} `) || line.startsWith(`${counter}{`));
  if (values.length === 0) throw new Error(`/metrics has no ${counter}`);
  return values.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

const anchorage = (version: string): Peer => {
  const manifest = JSON.parse(readFileSync(join(VERSIONS, version, 'manifest.json'), 'utf8')) as Manifest;
  return {
    name: `Anchorage ${version.replace(/^\d+-/, '')}`,
    kind: 'server',
    precision: manifest.quantization === 'float32' ? 'float32' : 'int8',
    pooling: manifest.pooling.mode === 'mean' ? 'mean' : 'ata',
    packages: [`${MODEL}@${version}`],
    open: async () => {
      const server = await startServer('--model', `${MODEL}@${version}`);
      const { url } = server;
      return {
        ...overHttp({ url, model: MODEL }, server.child.pid!, async () => void (await server.close())),
        paddingShare: async () => {
          const padding = await sumOf(url, 'anchorage_embed_padding_tokens_total');
          return padding / (padding + (await sumOf(url, 'anchorage_embed_tokens_total')));
        },
      };
    },
  };
};

export const anchorageVersions: readonly Peer[] = readdirSync(VERSIONS)
  .sort((a, b) => b.localeCompare(a))
  .map(anchorage);
