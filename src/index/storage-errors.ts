/** What SQLite and the file system say when a write cannot be made durable, as the one error that clients see. */
import { AnchorageError } from '../errors.js';

/** Disk full, quota, file-size limit, or a write or fsync that the device refused. */
const REFUSED_WRITE =
  /^(SQLITE_FULL|SQLITE_IOERR.*|SQLITE_CANTOPEN.*|SQLITE_READONLY.*|ENOSPC|EDQUOT|EFBIG|EIO|EROFS)$/;

/** @returns STORAGE_FULL for a refused write; anything else as it came. */
export function storageError(error: unknown): unknown {
  const { code, message } = error as { code?: string; message?: string };
  if (code === undefined || !REFUSED_WRITE.test(code)) return error;
  return new AnchorageError(
    'STORAGE_FULL',
    `The disk refused the write (${code}: ${message}); nothing of the request was stored. Free space or mend the disk, then send it again`,
    { cause: error },
  );
}
