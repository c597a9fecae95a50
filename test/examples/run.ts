/**
 * `npm run examples [-- name …]`: starts a server of its own, runs every example against it and shows what it prints. An
 * example fails by its exit code, or where it does not print what it is there to show.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startServer } from '../../bench/server-process.js';

interface Example {
  readonly name: string;
  readonly command: readonly string[];
  readonly shows: readonly RegExp[];
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const typescript = (file: string): string[] => [process.execPath, '--import', 'tsx', file];

const EXAMPLES: readonly Example[] = [
  {
    name: 'curl',
    command: ['bash', 'examples/curl.sh'],
    shows: [/"upserted":300/, /Hiding Secret Information in Movie Clip/, /Algorithms for Quantum Branching Programs/],
  },
  {
    name: 'search',
    command: typescript('examples/search.ts'),
    shows: [
      /^300 abstracts stored/m,
      /Scalable Place Recognition Under Appearance Change/,
      /Near to "Adding Query Privacy/,
    ],
  },
  {
    name: 'openai',
    command: typescript('examples/openai.ts'),
    shows: [
      /^300 titles, 384 dimensions each/m,
      /A new adaptive method for hiding data in images/,
      /termites and computers/,
    ],
  },
];

/** @returns what went wrong; empty where nothing did. */
async function problemsOf({ command, shows }: Example, url: string): Promise<string[]> {
  const [program, ...args] = [...command, url];
  const child = spawn(program!, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    process.stdout.write(chunk);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  const unseen = shows.filter((pattern) => !pattern.test(output)).map((pattern) => `did not print ${pattern}`);
  return code === 0 ? unseen : [`ended with exit code ${code}`, ...unseen];
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !EXAMPLES.some((example) => example.name === name));
if (unknown.length > 0) {
  console.error(`examples: no ${unknown.join(', ')}; there are ${EXAMPLES.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const server = await startServer();
let failed = 0;
const chosen = EXAMPLES.filter(({ name }) => asked.length === 0 || asked.includes(name));
for (const example of chosen) {
  console.log(`\n===== ${example.command.at(-1)} =====`);
  const problems = await problemsOf(example, server.url);
  for (const problem of problems) console.error(`examples: ${example.name} ${problem}`);
  if (problems.length > 0) failed++;
}
await server.close();
console.log(`\n${chosen.length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
