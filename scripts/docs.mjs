/**
 * `node scripts/docs.mjs`: writes the tables of docs/ that list code (settings, errors, metrics, from the build) and
 * decisions, between `<!-- table:NAME -->` and `<!-- /table -->`. With --check it writes nothing and fails where a page has drifted;
 * test/docs runs it so. It reads dist/ and does not build it: run "npm run build" before.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './prepare.mjs';

const { SETTINGS, kebab, upperSnake } = await import('../dist/config.js');
const { ERRORS } = await import('../dist/errors.js');
const { createMetrics } = await import('../dist/metrics.js');

const docs = join(root, 'docs');
const TABLES = { settings: settingsTable, errors: errorsTable, metrics: metricsTable, decisions: decisionsTable };
const PAGES = ['configuration.md', 'errors.md', 'metrics.md', 'decisions/README.md'].map((name) => join(docs, name));

function settingsTable() {
  const rows = Object.entries(SETTINGS).map(([name, setting]) => [
    code(`--${kebab(name)}`),
    code(`ANCHORAGE_${upperSnake(name)}`),
    setting.kind === 'list' || setting.default === '' ? 'empty' : code(setting.default),
    boundsOf(setting),
    setting.help,
  ]);
  return table(['flag', 'variable', 'default', 'takes', 'what it is'], rows);
}

function boundsOf(setting) {
  switch (setting.kind) {
    case 'integer':
      return `${setting.min} to ${setting.max}`;
    case 'choice':
      return setting.choices.map(code).join(', ');
    case 'boolean':
      return '`true`, `false`';
    case 'list':
      return 'a list, by commas';
    default:
      return setting.secret ? 'a secret' : 'text';
  }
}

function errorsTable() {
  const rows = Object.entries(ERRORS).map(([name, { status, teiType, meaning }]) => [
    code(name),
    String(status),
    teiType,
    meaning,
  ]);
  return table(['code', 'status', '`error_type`', 'meaning'], rows);
}

async function metricsTable() {
  const { registry } = createMetrics();
  const ours = (await registry.getMetricsAsJSON()).filter(({ name }) => name.startsWith('anchorage_'));
  const rows = ours.map(({ name, type, help, values }) => [
    code(name),
    type,
    registry
      .getSingleMetric(name)
      .labelNames.map((label) => labelCell(label, values))
      .join('; '),
    help,
  ]);
  return table(['metric', 'type', 'labels', 'help'], rows);
}

function decisionsTable() {
  const pages = readdirSync(join(docs, 'decisions')).filter((name) => name.endsWith('.md') && name !== 'README.md');
  const rows = pages.sort().map((name) => {
    const text = readFileSync(join(docs, 'decisions', name), 'utf8');
    return [/^Date: (.*)$/m.exec(text)?.[1] ?? '', `[${/^# (.*)$/m.exec(text)?.[1] ?? name}](${name})`];
  });
  return table(['date', 'decision'], rows);
}

/** A label with the values that the first scrape already shows: those known ahead. */
function labelCell(label, values) {
  const known = [...new Set(values.map(({ labels }) => labels[label]).filter((value) => value !== undefined))];
  return known.length === 0 ? code(label) : `${code(label)}: ${known.join(', ')}`;
}

function table(head, rows) {
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

function code(value) {
  return `\`${value}\``;
}

async function filledIn(page) {
  const pieces = readFileSync(page, 'utf8').split(/(<!-- table:[a-z]+ -->\n)[\s\S]*?(?=<!-- \/table -->)/);
  for (let at = 1; at < pieces.length; at += 2) {
    const name = /table:([a-z]+)/.exec(pieces[at])[1];
    if (TABLES[name] === undefined) throw new Error(`${page}: there is no table "${name}"`);
    pieces[at] += `${await TABLES[name]()}\n`;
  }
  return pieces.join('');
}

const onlyCheck = process.argv.includes('--check');
for (const page of PAGES) {
  const wanted = await filledIn(page);
  if (readFileSync(page, 'utf8') === wanted) continue;
  if (onlyCheck) {
    process.stderr.write(`${page} has drifted from the code; run "node scripts/docs.mjs"\n`);
    process.exitCode = 1;
  } else {
    writeFileSync(page, wanted);
    process.stderr.write(`wrote ${page}\n`);
  }
}
