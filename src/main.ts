/**
 * The composition root: settings -> log -> models and collections -> HTTP. Standard output carries the ready line and
 * nothing else; whatever stops the start is one line on standard error and exit code 1.
 */

import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Config, configHelp, forbidTelemetry, jobEnvironment, readConfig } from './config.js';
import { AnchorageError } from './errors.js';
import { Collections } from './index/collections.js';
import { Feedback } from './jobs/feedback.js';
import { JobStore } from './jobs/job-store.js';
import { Jobs } from './jobs/jobs.js';
import { startingModel } from './jobs/live-model.js';
import { RecentQueries } from './jobs/recent-queries.js';
import { trainedModelsFolder } from './jobs/trained-models.js';
import { trainerLimits } from './jobs/trainer-process.js';
import { createLogger } from './log.js';
import { createMetrics } from './metrics.js';
import type { Manifest } from './model/manifest.js';
import { modelId } from './model/manifest.js';
import { ModelRegistry } from './model/registry.js';
import { type AdminToken, loadAdminToken } from './server/admin-token.js';
import { buildApp } from './server/app.js';
import { Tracer } from './trace.js';

const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost']);

async function main(): Promise<void> {
  forbidTelemetry(process.env);
  const config = readConfig({ argv: process.argv.slice(2), env: process.env });
  if (config === 'help') {
    process.stdout.write(configHelp());
    return;
  }
  refuseOpenHost(config);
  const logger = createLogger(config.logLevel);
  const metrics = createMetrics();
  const adminToken = loadAdminToken(config.adminToken, config.dataDir);
  const tracer = config.trace ? await Tracer.open(join(config.dataDir, 'trace.json')) : undefined;
  const trainedModelsDir = trainedModelsFolder(config.dataDir);
  const store = new JobStore(config.dataDir);
  const model = await startingModel(store, config.model);
  const models = await ModelRegistry.open({ ...config, model, trainedModelsDir, metrics, tracer });
  const { engine, whyNotNative } = models.live;
  logger.info({ model, engine, whyNotNative }, 'model loaded');
  const liveFingerprint = models.live.manifest.fingerprint;
  const collections = await Collections.open({ dataDir: config.dataDir, metrics, liveFingerprint });
  // Jobs go on after the collections are open: these hold the lock of the data directory.
  const recentQueries = new RecentQueries();
  const feedback = openFeedback(config, store, logger);
  const trainer = trainerLimits(config, jobEnvironment(process.env));
  const jobs = await Jobs.open({
    config,
    metrics,
    models,
    collections,
    trainer,
    store,
    recentQueries,
    logger,
    ...feedback,
  });
  const parts = {
    config,
    metrics,
    tracer,
    models,
    collections,
    jobs,
    recentQueries,
    ...feedback,
    adminToken: adminToken.token,
  };
  const app = await buildApp(parts, { logger });
  await app.listen({ host: config.host, port: config.port });

  const close = async (signal: string): Promise<void> => {
    logger.info({ signal }, 'closing: accepted requests are answered first');
    const jobsClosed = jobs.stop();
    await app.close();
    await feedback.feedback?.close();
    await jobsClosed;
    await store.close();
    await collections.close();
    await models.close();
    await tracer?.close();
    process.exit(0);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void close(signal));

  const url = urlOf(config.host, app.server.address() as AddressInfo);
  process.stdout.write(`${readyLine(url, models.live.manifest)}\n`);
  process.stderr.write(greeting(url, adminToken));
}

function openFeedback(config: Config, store: JobStore, logger: Logger): { feedback?: Feedback } {
  if (!config.feedback) return {};
  const warn = (error: Error): void => logger.error({ err: error }, 'feedback could not be kept');
  return { feedback: new Feedback({ store, days: config.feedbackDays, warn }) };
}

function refuseOpenHost({ host, apiKeys, insecure }: Config): void {
  if (LOOPBACK.has(host) || apiKeys.length > 0 || insecure) return;
  throw new AnchorageError(
    'CONFIG_INVALID',
    `--host ${host} is reachable from other machines and no API key is set; set ANCHORAGE_API_KEYS, or pass --insecure`,
  );
}

const urlOf = (host: string, { port }: AddressInfo): string =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

function readyLine(url: string, manifest: Manifest): string {
  const { pooling, dimensions } = manifest;
  const gamma = pooling.mode === 'ata' ? ` gamma=${pooling.gamma}` : '';
  return `anchorage ready ${url} model=${modelId(manifest)} pooling=${pooling.mode}${gamma} dimensions=${dimensions}`;
}

function greeting(url: string, { token, file, isNew }: AdminToken): string {
  const where = file === undefined ? 'the admin token is the configured one' : `the admin token is in ${file}`;
  return [
    isNew ? `${where}, shown this once: ${token}` : where,
    `try: curl -s ${url}/embed -H 'content-type: application/json' -d '{"inputs":"The harbour is quiet tonight."}'`,
    '',
  ].join('\n');
}

main().catch((error: unknown) => {
  const line = startProblem(error);
  process.stderr.write(line === undefined ? `${(error as Error).stack}\n` : `anchorage: ${line}\n`);
  process.exit(1);
});

/** One line for what an operator can mend; undefined for a programmer's fault, which is shown whole. */
function startProblem(error: unknown): string | undefined {
  if (error instanceof AnchorageError) return error.message;
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') return `${message}: another program listens there; choose another --port`;
  return syscall === undefined ? undefined : message;
}
