/** deploy: puts a model version into the live one's place, if the gate lets it; deployment.ts has the steps. */
import { AnchorageError } from '../../errors.js';
import { modelId } from '../../model/manifest.js';
import { deploy } from '../deployment.js';
import { gateOf } from '../gate.js';
import type { JobParts } from '../job-parts.js';
import type { DeployParams } from '../params.js';
import { setsOf } from './evaluate.js';
import type { Kind, Queue } from './kind.js';

export const deployKind: Kind<DeployParams> = {
  async check({ model, gate, sets = [] }, parts, queue) {
    parts.models.folderOf(model);
    if (modelId(parts.models.live.manifest) === model) {
      throw new AnchorageError('CONFLICT', `${model} is live already`, { field: 'params.model' });
    }
    if (gateOf(gate).rule === 'better' && sets.length === 0) {
      const message =
        'params.sets: the gate "better" needs sets to judge by; name folders of the data directory, or take the gate "always"';
      throw new AnchorageError('VALIDATION', message, { field: 'params.sets' });
    }
    await refuseSecond(parts, queue);
  },

  async run(context, { sets = [], ...request }) {
    await deploy(context, { ...request, sets: setsOf(context.parts.config.dataDir, sets) }, [0, 1]);
  },
};

/** @throws AnchorageError CONFLICT while another deployment waits or runs. */
export async function refuseSecond({ turn }: JobParts, queue: Queue): Promise<void> {
  const other = turn.takenBy ?? (await queue.unfinished()).find(({ type }) => type === 'deploy')?.id;
  if (other === undefined) return;
  throw new AnchorageError('CONFLICT', `job ${other} changes the live model at the moment; wait for it, or cancel it`);
}
