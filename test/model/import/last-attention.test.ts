import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { findLastAttention } from '../../../src/model/import/last-attention.js';
import {
  AttributeProto_AttributeType as AttributeType,
  GraphProtoSchema,
  NodeProtoSchema,
} from '../../../src/model/import/onnx_pb.js';
import { indexGraph } from '../../../src/model/import/onnx-graph.js';

/** `Softmax a -> p` is a node; `axis` and a domain before the operator may be given: `com.microsoft.Attention`. */
function find(lines: string[], { opset = 17, axis }: { opset?: number; axis?: number } = {}) {
  const node = lines.map((line) => {
    const [head, output] = line.split(' -> ') as [string, string];
    const [operator, ...input] = head.split(' ') as [string, ...string[]];
    const [opType, ...domain] = operator.split('.').reverse() as [string, ...string[]];
    const attribute =
      axis !== undefined && opType === 'Softmax' ? [{ name: 'axis', type: AttributeType.INT, i: BigInt(axis) }] : [];
    return create(NodeProtoSchema, {
      opType,
      domain: domain.reverse().join('.'),
      input,
      output: output.split(' '),
      name: `/${output}`,
      attribute,
    });
  });
  return findLastAttention(indexGraph(create(GraphProtoSchema, { node })), 'hidden', opset);
}

const FIRST_LAYER = ['Softmax s0 -> p0', 'MatMul p0 v0 -> c0', 'Add c0 x -> s1'];

describe('the last attention of a graph', () => {
  it('is the last softmax that weighs values on the way to the hidden states', () => {
    const found = find([...FIRST_LAYER, 'Softmax s1 -> p1', 'MatMul p1 v1 -> hidden']);
    expect(found).toEqual({ found: true, probabilities: 'p1', softmax: '/p1' });
  });

  it('is not a softmax behind the hidden states, such as a classifier or attention pooling', () => {
    const found = find([...FIRST_LAYER, 'Add s1 x -> hidden', 'Softmax hidden -> p9', 'MatMul p9 v9 -> logits']);
    expect(found).toMatchObject({ found: true, probabilities: 'p0' });
  });

  it('is not a softmax that weighs nothing, such as a gate', () => {
    const found = find([...FIRST_LAYER, 'Softmax s1 -> gate', 'Mul gate s1 -> hidden']);
    expect(found).toMatchObject({ found: true, probabilities: 'p0' });
  });

  it('is taken behind casts and guards, and before quantization', () => {
    const tail = ['Cast p -> q', 'IsNaN q -> n', 'Where n zero q -> w'];
    const quantized = ['QuantizeLinear w s z -> i', 'DequantizeLinear i s z -> d', 'MatMul d v -> hidden'];
    expect(find(['Softmax s -> p', ...tail, 'MatMul w v -> hidden'])).toMatchObject({ probabilities: 'w' });
    expect(find(['Softmax s -> p', ...tail, ...quantized])).toMatchObject({ probabilities: 'w' });
  });

  it('is refused where a fused attention follows, and where everything is fused', () => {
    const last = 'com.microsoft.MultiHeadAttention q k s1 -> hidden';
    expect(find([...FIRST_LAYER, last])).toMatchObject({
      reason: expect.stringMatching(/one fused com\.microsoft\.Multi/),
    });
    expect(find(['com.microsoft.Attention x -> hidden'])).toMatchObject({ found: false });
    expect(find(['Attention q k v -> hidden'], { opset: 23 })).toMatchObject({
      reason: expect.stringMatching(/fused Attention/),
    });
  });

  it('is refused where a fused attention stands before it only in the list, not where it feeds it', () => {
    const found = find(['com.microsoft.Attention x -> s', 'Softmax s -> p', 'MatMul p v -> hidden']);
    expect(found).toMatchObject({ found: true, probabilities: 'p' });
  });

  it('is refused where two run side by side', () => {
    const heads = [
      'Softmax a -> p0',
      'MatMul p0 v0 -> c0',
      'Softmax b -> p1',
      'MatMul p1 v1 -> c1',
      'Concat c0 c1 -> hidden',
    ];
    expect(find(heads)).toEqual({ found: false, reason: 'two attentions run side by side, /p0 and /p1' });
  });

  it('is refused where it normalizes over another axis than the last', () => {
    const lines = ['Softmax s -> p', 'MatMul p v -> hidden'];
    expect(find(lines, { axis: 1 })).toMatchObject({ found: false });
    expect(find(lines, { axis: 3 })).toMatchObject({ found: true });
    expect(find(lines, { opset: 11, axis: -1 })).toMatchObject({ found: true });
    // Without the attribute, opset 11 flattens everything from axis 1 on.
    expect(find(lines, { opset: 11 })).toMatchObject({
      reason: '/p normalizes over axis 1, not over the attended tokens',
    });
  });

  it('is refused where there is none', () => {
    expect(find(['MatMul x w -> hidden'])).toEqual({ found: false, reason: 'it has no Softmax that weighs values' });
  });
});
