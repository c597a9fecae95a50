/** Anchors as clients see them: the tokens of a text by their share of its embedding. */
import { Type } from 'typebox';
import type { Anchor } from '../model/embedding-types.js';

const Position = Type.Union([Type.Integer(), Type.Null()]);

export const AnchorSchema = Type.Object({
  id: Type.Integer(),
  text: Type.String(),
  special: Type.Boolean(),
  start: Position,
  stop: Position,
  weight: Type.Number({ description: 'share of the embedding; the weights of an input sum to 1' }),
});

/** @returns the `top` heaviest, heaviest first. */
export const heaviest = (anchors: readonly Anchor[], top: number): Anchor[] =>
  [...anchors].sort((a, b) => b.weight - a.weight).slice(0, top);
