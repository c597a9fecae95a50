/** A real app for tests: the committed model, a throw-away data directory, nothing mocked and nothing listening. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Config, readConfig } from '../../src/config.js';
import { Collections } from '../../src/index/collections.js';
import { Feedback } from '../../src/jobs/feedback.js';
import { JobStore } from '../../src/jobs/job-store.js';
import { Jobs } from '../../src/jobs/jobs.js';
import { startingModel } from '../../src/jobs/live-model.js';
import { RecentQueries } from '../../src/jobs/recent-queries.js';
import { trainedModelsFolder } from '../../src/jobs/trained-models.js';
import { trainerLimits } from '../../src/jobs/trainer-process.js';
import { createMetrics } from '../../src/metrics.js';
import { ModelRegistry } from '../../src/model/registry.js';
import { type App, buildApp } from '../../src/server/app.js';
import type { Parts } from '../../src/server/parts.js';

export const ADMIN_TOKEN = 'the-admin-token-of-the-tests';

export interface RealApp {
  readonly app: App;
  readonly parts: Parts;
  readonly close: () => Promise<void>;
}

/** @param flags as on the command line, after those that a test always wants. A --data-dir of the test's own is not removed. */
export async function openRealApp(...flags: string[]): Promise<RealApp> {
  const ownDir = mkdtempSync(join(tmpdir(), 'anchorage-app-'));
  const argv = ['--data-dir', ownDir, '--log-level', 'silent', ...flags];
  const config = readConfig({ argv, env: {} }) as Config;
  const { dataDir } = config;
  const metrics = createMetrics();
  const store = new JobStore(dataDir);
  const model = await startingModel(store, config.model);
  const trainedModelsDir = trainedModelsFolder(dataDir);
  const models = await ModelRegistry.open({ ...config, model, trainedModelsDir, metrics });
  const liveFingerprint = models.live.manifest.fingerprint;
  const collections = await Collections.open({ dataDir, metrics, liveFingerprint });
  const trainer = trainerLimits(config, process.env);
  const recentQueries = new RecentQueries();
  const warn = (error: Error): void => {
    throw error;
  };
  const feedback = config.feedback ? new Feedback({ store, days: config.feedbackDays, warn }) : undefined;
  const kept = feedback ? { feedback } : {};
  const jobs = await Jobs.open({ config, metrics, models, collections, trainer, store, recentQueries, ...kept });
  const parts: Parts = { config, metrics, models, collections, jobs, recentQueries, ...kept, adminToken: ADMIN_TOKEN };
  const app = await buildApp(parts);
  return {
    app,
    parts,
    close: async () => {
      await Promise.all([jobs.stop(), app.close()]);
      await feedback?.close();
      await store.close();
      await collections.close();
      await models.close();
      rmSync(ownDir, { recursive: true, force: true });
    },
  };
}
