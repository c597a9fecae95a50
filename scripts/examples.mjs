/** `npm run examples [-- name …]`: makes the checkout ready, then runs the examples against a server of their own. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { prepare, root } from './prepare.mjs';

prepare();
const args = ['--import', 'tsx', join(root, 'test', 'examples', 'run.ts'), ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
