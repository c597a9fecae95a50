/** `npm run bench [-- name …]`: makes the checkout ready, then runs bench/<name>.ts; without a name, bench/http.ts. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, root } from './prepare.mjs';

const [name = 'http', ...flags] = process.argv.slice(2);
const file = join(root, 'bench', `${name}.ts`);
if (!/^[a-z-]+$/.test(name) || !existsSync(file)) {
  const names = readdirSync(join(root, 'bench')).flatMap((entry) =>
    entry.endsWith('.ts') ? [entry.slice(0, -3)] : [],
  );
  process.stderr.write(`bench: there is no bench "${name}"; there are ${names.join(', ')}\n`);
  process.exit(2);
}
prepare();
const { status } = spawnSync(process.execPath, ['--import', 'tsx', file, ...flags], { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
