/** GET /admin/models and POST /admin/models/{name}/{version}/activate, behind the admin token. */

import { type Static, Type } from 'typebox';
import type { Job } from '../../jobs/job.js';
import { MODEL_NAME_PATTERN, modelId } from '../../model/manifest.js';
import type { App } from '../app.js';

import type { Parts } from '../parts.js';
import { JobJson } from './jobs.js';

const VersionParams = Type.Object({
  name: Type.String({ pattern: MODEL_NAME_PATTERN }),
  version: Type.String({ pattern: MODEL_NAME_PATTERN }),
});

export function adminModelRoutes(app: App, parts: Parts): void {
  const tags = ['admin'];
  const security = [{ bearer: [] }];

  app.get(
    '/admin/models',
    { schema: { tags, security, summary: 'Every model version, with its evaluation' } },
    async () => ({
      live: modelId(parts.models.live.manifest),
      models: await parts.models.list(),
    }),
  );

  app.post<{ Params: Static<typeof VersionParams> }>(
    '/admin/models/:name/:version/activate',
    { schema: { tags, security, summary: 'Verify, warm and swap in a model version', params: VersionParams } },
    async (request) => {
      const { name, version } = request.params;
      const before = modelId(parts.models.live.manifest);
      parts.jobs.refuseWhileDeploying();
      await parts.models.activate(name, version);
      const live = modelId(parts.models.live.manifest);
      request.log.info({ before, live }, 'model activated');
      return { live, before };
    },
  );

  app.post<{ Reply: Job }>(
    '/admin/models/rollback',
    {
      schema: {
        tags,
        security,
        summary: 'Go back to the model before the last deployment, with the vectors that it had',
        description: 'Answers with the job that does it: what was written since the deployment is embedded first.',
        response: { 202: JobJson },
      },
    },
    async (request, reply) => {
      const job = await parts.jobs.rollBack();
      request.log.info({ job: job.id, model: job.params.model }, 'going back to the model before');
      return reply.code(202).header('location', `/admin/jobs/${job.id}`).send(job);
    },
  );
}
