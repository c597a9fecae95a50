/** Forward passes over a graph that is being imported. */
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { AnchorageError } from '../../errors.js';
import type { OutputShape } from './graph-outputs.js';
import type { ProbeBatch } from './probe-batch.js';

export interface Output extends OutputShape {
  readonly data: Float32Array;
}

/** Runs every batch over the graph at `path`; `fetch` names the outputs that are wanted, all where it is left out. */
export async function runGraph(
  path: string,
  batches: readonly ProbeBatch[],
  fetch?: readonly string[],
): Promise<Output[][]> {
  const session = await refusing('load the graph', () => InferenceSession.create(path, { logSeverityLevel: 3 }));
  try {
    const results: Output[][] = [];
    for (const { feeds, texts, tokens } of batches) {
      const run = () => session.run(feeds, fetch ?? session.outputNames);
      const tensors = await refusing(`run the graph over [${texts}, ${tokens}] tokens`, run);
      results.push(Object.keys(tensors).map((name) => ({ name, ...floats(tensors[name]!) })));
    }
    return results;
  } finally {
    await session.release();
  }
}

async function refusing<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0];
    throw new AnchorageError('MODEL_INVALID', `ONNX Runtime cannot ${what}: ${reason}`, { cause: error });
  }
}

/** Outputs of other types than these come back empty: nothing here reads them. */
function floats({ dims, type, data }: Tensor): Omit<Output, 'name'> {
  if (data instanceof Float32Array) return { dims, type, data };
  if (data instanceof Float64Array) return { dims, type, data: Float32Array.from(data) };
  if (type === 'float16') return { dims, type, data: fromHalf(data as Uint16Array) };
  return { dims, type, data: new Float32Array() };
}

/** IEEE 754 binary16: sign, 5 bits of exponent biased by 15, 10 of fraction. */
export function fromHalf(bits: Uint16Array | Float32Array): Float32Array {
  // Runtimes that have Float16Array hand out numbers, others (Node before 24) their bits.
  if (!(bits instanceof Uint16Array)) return Float32Array.from(bits);
  return Float32Array.from(bits, (half) => {
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}
