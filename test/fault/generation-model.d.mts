import type { ModelIdentity } from '../../src/index/collection-settings.js';

export const MODELS: readonly ModelIdentity[];
export function seededRandom(seed: number): () => number;
export function vectorOf(text: string, model: ModelIdentity): Float32Array;
