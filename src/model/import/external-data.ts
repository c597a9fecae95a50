/** Weights that lie beside their graph instead of in it, as those past 2 GiB must. */
import { constants } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AnchorageError } from '../../errors.js';
import { TensorProto_DataLocation as DataLocation } from './onnx_pb.js';
import type { OnnxFile } from './onnx-file.js';
import { storedTensors } from './onnx-graph.js';
import { safeFileName } from './source-files.js';

/** Names of the files that the graph's tensors point to; they lie in the graph's own folder. */
export function externalDataFiles(file: OnnxFile): string[] {
  const names = new Set<string>();
  for (const { name, dataLocation, externalData } of storedTensors(file.model.graph)) {
    if (dataLocation !== DataLocation.EXTERNAL) continue;
    const location = externalData.find(({ key }) => key === 'location')?.value;
    if (!location) throw new AnchorageError('MODEL_INVALID', `${file.path}: tensor ${name} is nowhere`);
    names.add(safeFileName(location));
  }
  return [...names];
}

/** Copies them into `folder` under the same names, because the graph names them; a clone where the disk can. */
export async function copyExternalData(file: OnnxFile, folder: string): Promise<void> {
  for (const name of externalDataFiles(file)) {
    const path = join(dirname(file.path), name);
    await copyFile(path, join(folder, name), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE).catch(() => {
      throw new AnchorageError(
        'MODEL_INVALID',
        `${file.path} keeps weights in ${name}, which cannot be copied from beside it`,
      );
    });
  }
}
