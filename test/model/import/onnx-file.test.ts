import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';
import {
  TensorProto_DataType as DataType,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
} from '../../../src/model/import/onnx_pb.js';
import { readOnnxFile, writeWithAddition } from '../../../src/model/import/onnx-file.js';
import { tinyEncoder, tinyEncoderBytes } from './tiny-encoder.js';
import { temporaryFolder } from './tiny-model.js';

/** Fields that no version of ONNX has had. */
const UNKNOWN_FIELD = 54_321;
const unknownField = (text: string): Uint8Array =>
  new BinaryWriter().tag(UNKNOWN_FIELD, WireType.LengthDelimited).string(text).finish();

/** A model with unknown fields in itself, its graph, its first node and its first weight. */
function modelWithUnknownFields(): Uint8Array {
  const model = tinyEncoder();
  const mark = (text: string) => [
    { no: UNKNOWN_FIELD, wireType: WireType.LengthDelimited, data: unknownField(text).slice(3) },
  ];
  model.$unknown = mark('of the model');
  model.graph!.$unknown = mark('of the graph');
  model.graph!.node[0]!.$unknown = mark('of a node');
  model.graph!.initializer[0]!.$unknown = mark('of a weight');
  return toBinary(ModelProtoSchema, model);
}

const addition = create(GraphProtoSchema, {
  node: [create(NodeProtoSchema, { opType: 'Identity', input: ['last_hidden_state'], output: ['again'] })],
});

async function written(bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryFolder(), 'model.onnx');
  await writeFile(path, bytes);
  return path;
}

describe('reading an ONNX file', () => {
  it('gives everything but the weights', async () => {
    const { model, bytes } = await readOnnxFile(await written(tinyEncoderBytes()));
    const whole = tinyEncoder();
    expect(bytes).toBe(tinyEncoderBytes().length);
    expect(model.graph.node).toEqual(whole.graph!.node);
    expect(model.opsetImport).toEqual(whole.opsetImport);
    expect(model.graph.initializer.map(({ name, dims, dataType }) => ({ name, dims, dataType }))).toEqual(
      whole.graph!.initializer.map(({ name, dims, dataType }) => ({ name, dims, dataType })),
    );
    expect(model.graph.initializer.every(({ rawData, int64Data }) => rawData.length + int64Data.length === 0)).toBe(
      true,
    );
  });

  it('does so for weights larger than its window', async () => {
    const model = tinyEncoder();
    const large = model.graph!.initializer[0]!;
    large.rawData = new Uint8Array(300_000).fill(7);
    large.dims = [75_000n];
    const { model: read } = await readOnnxFile(await written(toBinary(ModelProtoSchema, model)));
    expect(read.graph.initializer[0]).toMatchObject({ name: large.name, dims: [75_000n], dataType: DataType.FLOAT });
    expect(read.graph.output[0]?.name).toBe('last_hidden_state');
  });

  it.each([0.1, 0.5, 0.9, 0.999])('refuses a file that is cut off after %f of it', async (share) => {
    const bytes = tinyEncoderBytes();
    await expect(readOnnxFile(await written(bytes.slice(0, bytes.length * share)))).rejects.toThrow(
      /is not an ONNX model/,
    );
  });

  it('refuses a pointer to a file that Git LFS did not fetch, and says so', async () => {
    const pointer = Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n');
    await expect(readOnnxFile(await written(pointer))).rejects.toThrow(/Git LFS pointer/);
  });

  it('refuses a file past 2 GiB, and says what to do', async () => {
    const path = await written(new Uint8Array());
    await truncate(path, 2 ** 31);
    await expect(readOnnxFile(path)).rejects.toThrow(/2 GiB; export it with external data/);
  });

  it('refuses a file that is not there', async () => {
    await expect(readOnnxFile(join(await temporaryFolder(), 'none.onnx'))).rejects.toThrow(/cannot read .+ENOENT/);
  });
});

describe('adding to a graph', () => {
  it('puts the new fields behind the others', async () => {
    const source = await written(tinyEncoderBytes());
    const target = `${source}.new`;
    await writeWithAddition(await readOnnxFile(source), { addition, target });
    const model = fromBinary(ModelProtoSchema, new Uint8Array(await readFile(target)));
    expect(model.graph?.node.slice(0, -1)).toEqual(tinyEncoder().graph?.node);
    expect(model.graph?.node.at(-1)).toEqual(addition.node[0]);
    expect(model.graph?.initializer).toEqual(tinyEncoder().graph?.initializer);
    expect(model.opsetImport).toEqual(tinyEncoder().opsetImport);
  });

  it('keeps every byte of the original, unknown fields too', async () => {
    const bytes = modelWithUnknownFields();
    const source = await written(bytes);
    const target = `${source}.new`;
    const file = await readOnnxFile(source);
    await writeWithAddition(file, { addition, target });
    const result = await readFile(target);
    const { start, bodyStart, end } = file.graph;
    const original = Buffer.from(bytes);
    expect(result.subarray(0, start)).toEqual(original.subarray(0, start));
    expect(result.indexOf(original.subarray(bodyStart, end))).toBeGreaterThan(start);
    expect(result.subarray(result.length - (bytes.length - end))).toEqual(original.subarray(end));
    for (const owner of ['of the model', 'of the graph', 'of a node', 'of a weight'])
      expect(result.includes(owner)).toBe(true);
    expect(fromBinary(ModelProtoSchema, result).graph?.node.at(-1)?.output).toEqual(['again']);
  });

  it('adds nothing where there is nothing to add', async () => {
    const source = await written(tinyEncoderBytes());
    const target = `${source}.new`;
    await writeWithAddition(await readOnnxFile(source), { addition: create(GraphProtoSchema), target });
    expect(await readFile(target)).toEqual(await readFile(source));
  });

  it('never writes over a file', async () => {
    const source = await written(tinyEncoderBytes());
    const file = await readOnnxFile(source);
    await expect(writeWithAddition(file, { addition, target: source })).rejects.toThrow(/EEXIST/);
    const handle = await open(source);
    expect((await handle.stat()).size).toBe(tinyEncoderBytes().length);
    await handle.close();
  });
});
