/** The compiled encoder of native/, as native/binding.cc offers it; scripts/native.mjs compiles it where it can. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Int8Encoder } from './static-int8.js';

/** Sets of instructions that there is native code for, the best first. */
export const INSTRUCTIONS = ['amx', 'vnni'] as const;
export type Instructions = (typeof INSTRUCTIONS)[number];

/** Weights, shared by all threads that opened them, and what this thread's forward passes write in between. */
export type NativeHandle = { readonly native: unique symbol };

export interface NativeAddon {
  /** The best that this processor has. */
  instructions(): Instructions | 'none';
  /** `read` is called unless another thread has the weights of `key` open. */
  open(key: string, instructions: Instructions, read: () => Int8Encoder): NativeHandle;
  /** How many the model has. */
  layers(handle: NativeHandle): number;
  /**
   * One forward pass through the first `layers` layers. Texts lie one after another in `ids`; `hiddenStates` gets
   * [texts, rowTokens, hidden], `receivedAttention` [texts, rowTokens]. Throws a RangeError where sizes do not fit.
   */
  encode(
    handle: NativeHandle,
    ids: Int32Array,
    lengths: Int32Array,
    layers: number,
    rowTokens: number,
    hiddenStates: Float32Array | undefined,
    receivedAttention: Float32Array | undefined,
  ): void;
}

const file = fileURLToPath(new URL('../../native/build/encoder.node', import.meta.url));

/**
 * Or why there is none: it was not compiled, for want of a compiler or on another kind of machine, or it was compiled on a
 * machine with other libraries (a newer glibc, or musl) and this one cannot load it.
 */
export function nativeAddon(path = file): NativeAddon | string {
  if (!existsSync(path)) {
    return 'it is not compiled (on Linux x64, "node scripts/native.mjs" does so and says what is missing)';
  }
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (error) {
    return `it cannot be loaded: ${(error as Error).message}`;
  }
}
