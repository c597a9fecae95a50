/** The admin token: the configured one, or one made at the first start and kept in the data directory, mode 0600. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const TOKEN_BYTES = 32;

export interface AdminToken {
  readonly token: string;
  /** Where the token is kept; undefined where it was configured. */
  readonly file: string | undefined;
  /** True at the start that made it: the one time it is printed. */
  readonly isNew: boolean;
}

export function loadAdminToken(configured: string, dataDir: string): AdminToken {
  if (configured !== '') return { token: configured, file: undefined, isNew: false };
  const file = join(dataDir, 'admin-token');
  const kept = readIfThere(file);
  if (kept !== '') return { token: kept, file, isNew: false };
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  return { token, file, isNew: true };
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
