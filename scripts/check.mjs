/** `npm run check`: lint, types, and `npm test`; ends with the first failure. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { prepare, root } from './prepare.mjs';

prepare();
const bin = (...parts) => join(root, 'node_modules', ...parts);
const steps = [
  ['lint', [bin('@biomejs', 'biome', 'bin', 'biome'), 'check', '.']],
  ['types', [bin('typescript', 'bin', 'tsc'), '--noEmit']],
  ['tests', [join(root, 'scripts', 'test.mjs')]],
];
for (const [name, args] of steps) {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status === 0) continue;
  process.stderr.write(`check: ${name} failed\n`);
  process.exit(status ?? 1);
}
