/** What a request may choose about its vectors, held against what the model can give. */
import { AnchorageError } from '../errors.js';
import type { Pooling, PoolingMode } from '../pooling/pool.js';
import type { PoolingChoice } from './embedding-types.js';
import type { Manifest } from './manifest.js';

const GAMMA_MAX = 16;
/** The paper's reading, where neither the request nor the model says otherwise. */
const GAMMA_OF_THE_PAPER = 1;

/** The pooling to be used: the request's, else the model's own. */
export function resolvePooling(manifest: Manifest, choice: PoolingChoice | undefined): Pooling {
  const own = manifest.pooling;
  const mode = choice?.mode ?? own.mode;
  const missing = missingOutput(manifest, mode);
  if (missing) {
    const name = `${manifest.name}@${manifest.version}`;
    throw invalid('pooling.mode', `pooling ${mode} needs the graph's output ${missing}, which ${name} does not have`);
  }
  if (mode !== 'ata') {
    if (choice?.gamma !== undefined) throw invalid('pooling.gamma', `pooling.gamma is for mode ata, not for ${mode}`);
    return { mode, gamma: 0 };
  }
  const gamma = choice?.gamma ?? (own.mode === 'ata' ? own.gamma : GAMMA_OF_THE_PAPER);
  if (!(gamma >= 0 && gamma <= GAMMA_MAX)) {
    throw invalid('pooling.gamma', `pooling.gamma is ${gamma}; it must be from 0 to ${GAMMA_MAX}`);
  }
  return { mode, gamma };
}

/** Length of the answered vectors. `full` is what the pooling gives. */
export function resolveDimensions(asked: number | undefined, full: number): number {
  if (asked === undefined) return full;
  if (Number.isInteger(asked) && asked >= 1 && asked <= full) return asked;
  throw invalid('dimensions', `dimensions is ${asked}; it must be a whole number from 1 to ${full}`);
}

/**
 * Length of the vectors that leave the model after `layers` layers.
 * @throws AnchorageError VALIDATION where the model declares no such exit, or not with these dimensions.
 */
export function resolveExit(manifest: Manifest, layers: number, dimensions: number | undefined): number {
  const name = `${manifest.name}@${manifest.version}`;
  const exits = manifest.exits ?? [];
  const exit = exits.find((one) => one.layers === layers);
  if (!exit) {
    const known = exits.map((one) => one.layers).join(', ');
    const allowed = exits.length === 0 ? `${name} declares no exits: leave it out` : `${name} has exits after ${known}`;
    throw invalid('layers', `layers is ${layers}; ${allowed}`);
  }
  const asked = dimensions ?? exit.dimensions[0]!;
  if (exit.dimensions.includes(asked)) return asked;
  const sizes = exit.dimensions.join(', ');
  throw invalid('dimensions', `dimensions is ${asked}; with layers ${layers}, ${name} has ${sizes}`);
}

function missingOutput({ outputs }: Manifest, mode: PoolingMode): string | undefined {
  if (mode === 'graph') return outputs.sentenceEmbedding ? undefined : 'sentenceEmbedding';
  if (!outputs.hiddenStates) return 'hiddenStates';
  return mode === 'ata' && !outputs.receivedAttention && !outputs.attentions ? 'receivedAttention' : undefined;
}

function invalid(field: string, message: string): AnchorageError {
  return new AnchorageError('VALIDATION', message, { field });
}
