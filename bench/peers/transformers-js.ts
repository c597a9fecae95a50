/** @huggingface/transformers: as a library, and behind the few lines of node:http that a Node user would write. */
import { join } from 'node:path';
import { openDriver } from './driver-process.js';
import { DRIVERS_FOLDER, npmEnvironment } from './environment.js';
import type { Peer, PeerContext } from './peer.js';
import { freePort, openServer } from './server-peer.js';

const PACKAGES = ['@huggingface/transformers@4.3.1'];
const SERVER_BATCH_SIZE = 8;

function driverArguments({ weights, threads }: PeerContext, dtype: string): string[] {
  const project = npmEnvironment('transformers-js', PACKAGES);
  return [project, weights.folder, String(threads), dtype, String(weights.maxTokens), weights.pooling];
}

const library = (precision: Peer['precision'], dtype: string): Peer => ({
  name: `transformers.js ${precision}`,
  kind: 'library',
  precision,
  pooling: 'own',
  packages: PACKAGES,
  open: (context) =>
    openDriver({
      program: process.execPath,
      args: [join(DRIVERS_FOLDER, 'transformers-js-library.mjs'), ...driverArguments(context, dtype)],
      threads: context.threads,
    }),
});

const behindHttp: Peer = {
  name: 'transformers.js int8 behind node:http',
  kind: 'server',
  precision: 'int8',
  pooling: 'own',
  packages: PACKAGES,
  open: async (context) => {
    const port = String(await freePort());
    const script = join(DRIVERS_FOLDER, 'transformers-js-server.mjs');
    return openServer({
      program: process.execPath,
      args: [script, port, String(SERVER_BATCH_SIZE), ...driverArguments(context, 'q8')],
      endpoint: { url: `http://127.0.0.1:${port}`, model: 'local' },
    });
  },
};

export const transformersJs: readonly Peer[] = [library('int8', 'q8'), library('float32', 'fp32'), behindHttp];
