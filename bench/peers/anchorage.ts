/** Anchorage itself, as a user starts it, with the embedding cache on: its int8 and float32 versions of the weights. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Manifest } from '../../src/model/manifest.js';
import { startServer } from '../server-process.js';
import type { Peer, Weights } from './peer.js';
import { overHttp } from './server-peer.js';

/** @param counter a metric without labels, or all of its series together. */
async function sumOf(url: string, counter: string): Promise<number> {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n');
  const values = lines.filter((line) => line.startsWith(`${counter} `) || line.startsWith(`${counter}{`));
  if (values.length === 0) throw new Error(`/metrics has no ${counter}`);
  return values.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

const anchorage = ({ name, modelsDir }: Weights, version: string): Peer => {
  const manifest = JSON.parse(readFileSync(join(modelsDir, name, version, 'manifest.json'), 'utf8')) as Manifest;
  return {
    name: `Anchorage ${version.replace(/^\d+-/, '')}`,
    kind: 'server',
    precision: manifest.quantization === 'float32' ? 'float32' : 'int8',
    pooling: manifest.pooling.mode === 'ata' ? 'ata' : 'own',
    packages: [`${name}@${version}`],
    open: async () => {
      const server = await startServer('--models-dir', modelsDir, '--model', `${name}@${version}`);
      const { url } = server;
      return {
        ...overHttp({ url, model: name }, server.child.pid!, async () => void (await server.close())),
        paddingShare: async () => {
          const padding = await sumOf(url, 'anchorage_embed_padding_tokens_total');
          return padding / (padding + (await sumOf(url, 'anchorage_embed_tokens_total')));
        },
      };
    },
  };
};

export const anchorageVersions = (weights: Weights): readonly Peer[] =>
  readdirSync(join(weights.modelsDir, weights.name))
    .sort((a, b) => b.localeCompare(a))
    .map((version) => anchorage(weights, version));
