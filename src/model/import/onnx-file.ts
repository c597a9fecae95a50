/**
 * An ONNX file is one protobuf message, ModelProto, which holds one GraphProto (field 7), which holds the weights:
 *
 *     | irVersion … | 7: length | node node … initializer initializer … output … | opsetImport … |
 *     0             graph.start graph.bodyStart                             graph.end         bytes
 *
 * To add to a graph, its bytes are copied as they are and the new fields follow them, because a repeated protobuf field
 * may continue anywhere in its message. So always: every byte of the original survives, known to our schema or not; and
 * weights are never held in memory, neither to read (their payloads are stepped over) nor to write (they are streamed).
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { AnchorageError } from '../../errors.js';
import { type GraphProto, GraphProtoSchema, type ModelProto, ModelProtoSchema } from './onnx_pb.js';

/** Protobuf parsers, ONNX Runtime's among them, refuse longer messages; past it weights lie in files beside. */
const ONNX_BYTES_MAX = 2 ** 31 - 1;
const WINDOW_BYTES = 1 << 16;
/** Tag and length are varints of at most 5 bytes, a scalar of at most 10. */
const FIELD_HEADER_BYTES = 16;
const GRAPH_FIELD = 7;

export interface OnnxFile {
  readonly path: string;
  readonly bytes: number;
  /** The model without its weights: initializers keep name, shape, type and the place of external data. */
  readonly model: ModelProto & { readonly graph: GraphProto };
  /** Byte offsets of the graph field: its tag, its body, the byte after it. */
  readonly graph: { readonly start: number; readonly bodyStart: number; readonly end: number };
}

/** Which fields of a message are stepped over, and which hold messages with such fields. */
interface Trim {
  readonly skip: readonly number[];
  readonly nested: Readonly<Record<number, Trim>>;
}

/** TensorProto: float, int32, string, int64, raw, double and uint64 data. */
const TENSOR: Trim = { skip: [4, 5, 6, 7, 9, 10, 11], nested: {} };
/** GraphProto: initializers are trimmed; sparse ones and value_info are not needed. */
const GRAPH: Trim = { skip: [13, 15], nested: { 5: TENSOR } };
/** ModelProto: training_info is not needed. */
const MODEL: Trim = { skip: [20], nested: { [GRAPH_FIELD]: GRAPH } };

/** Reads all of an ONNX file but its weights. */
export async function readOnnxFile(path: string): Promise<OnnxFile> {
  const handle = await open(path).catch((error: Error) => {
    throw new AnchorageError('MODEL_INVALID', `cannot read ${path}: ${error.message}`);
  });
  try {
    const { size: bytes } = await handle.stat();
    if (bytes > ONNX_BYTES_MAX) {
      throw new Error(`it has ${bytes} bytes, and protobuf ends at 2 GiB; export it with external data`);
    }
    const file = new FileWindow(handle);
    if ((await file.read(0, 11)).toString('latin1') === 'version htt') {
      throw new Error('it is a Git LFS pointer; fetch the file itself with `git lfs pull`');
    }
    const graphs = [];
    for await (const field of fields(file, 0, bytes)) if (field.number === GRAPH_FIELD) graphs.push(field);
    const graph = graphs[0];
    if (!graph || graphs.length > 1) throw new Error(`it holds ${graphs.length} graphs`);
    const model = fromBinary(ModelProtoSchema, await trimmed(file, { start: 0, end: bytes }, MODEL));
    if (model.graph === undefined || model.graph.node.length === 0) throw new Error('its graph is empty');
    return { path, bytes, model: { ...model, graph: model.graph }, graph };
  } catch (error) {
    throw new AnchorageError('MODEL_INVALID', `${path} is not an ONNX model: ${(error as Error).message}`);
  } finally {
    await handle.close();
  }
}

/** Writes a copy of `file` to `target`, which must not exist, with the fields of `addition` put behind its graph's. */
export async function writeWithAddition(
  file: OnnxFile,
  { addition, target, signal }: { addition: GraphProto; target: string; signal?: AbortSignal | undefined },
): Promise<void> {
  const { start, bodyStart, end } = file.graph;
  const added = toBinary(GraphProtoSchema, addition);
  const bodyBytes = end - bodyStart + added.length;
  const header = new BinaryWriter().tag(GRAPH_FIELD, WireType.LengthDelimited).uint32(bodyBytes).finish();
  if (file.bytes + added.length + FIELD_HEADER_BYTES > ONNX_BYTES_MAX) {
    throw new AnchorageError('MODEL_INVALID', `${file.path} would pass 2 GiB; export it with external data`);
  }
  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield* range(file.path, 0, start);
    yield header;
    yield* range(file.path, bodyStart, end);
    yield added;
    yield* range(file.path, end, file.bytes);
  }
  await pipeline(pieces(), createWriteStream(target, { flags: 'wx' }), signal ? { signal } : {});
}

async function* range(path: string, start: number, end: number): AsyncGenerator<Buffer> {
  if (end > start) yield* createReadStream(path, { start, end: end - 1, highWaterMark: 1 << 20 });
}

interface Field {
  readonly number: number;
  readonly wireType: WireType;
  /** Offset of the tag. */
  readonly start: number;
  /** Offset behind tag and length. */
  readonly bodyStart: number;
  readonly end: number;
}

async function* fields(file: FileWindow, start: number, end: number): AsyncGenerator<Field> {
  for (let position = start; position < end; ) {
    const reader = new BinaryReader(await file.read(position, Math.min(FIELD_HEADER_BYTES, end - position)));
    const [number, wireType] = reader.tag();
    let length = 0;
    if (wireType === WireType.LengthDelimited) length = reader.uint32();
    else if (wireType === WireType.StartGroup) throw new Error(`a group at byte ${position}`);
    else reader.skip(wireType);
    const field = { number, wireType, start: position, bodyStart: position + reader.pos };
    position = field.bodyStart + length;
    if (position > end)
      throw new Error(`it is cut off: the field at byte ${field.start} ends at ${position} of ${end}`);
    yield { ...field, end: position };
  }
}

/** The bytes of a message without the fields that `trim` skips. */
async function trimmed(file: FileWindow, span: { start: number; end: number }, trim: Trim): Promise<Uint8Array> {
  const writer = new BinaryWriter();
  for await (const field of fields(file, span.start, span.end)) {
    if (trim.skip.includes(field.number)) continue;
    const inner = trim.nested[field.number];
    if (inner) {
      const body = await trimmed(file, { start: field.bodyStart, end: field.end }, inner);
      writer.tag(field.number, WireType.LengthDelimited).bytes(body);
    } else {
      writer.raw(await file.read(field.start, field.end - field.start));
    }
  }
  return writer.finish();
}

/** Positioned reads through one window, since a graph's fields are small and follow each other. */
class FileWindow {
  private readonly handle: FileHandle;
  private window = Buffer.alloc(0);
  private offset = 0;

  constructor(handle: FileHandle) {
    this.handle = handle;
  }

  /** A view that stays valid: each window is a buffer of its own. */
  async read(position: number, length: number): Promise<Buffer> {
    if (position < this.offset || position + length > this.offset + this.window.length) {
      const window = Buffer.alloc(Math.max(length, WINDOW_BYTES));
      const { bytesRead } = await this.handle.read(window, 0, window.length, position);
      this.window = window.subarray(0, bytesRead);
      this.offset = position;
    }
    return this.window.subarray(position - this.offset, position - this.offset + length);
  }
}
