import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { kebab, SETTINGS } from '../../src/config.js';
import { ERRORS } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = (name: string): string => readFileSync(`${root}docs/${name}.md`, 'utf8');

describe('the pages that list code', () => {
  it('are what scripts/docs.mjs makes of the build', () => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/docs.mjs', '--check'], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  it('name every setting, every error and every metric of the source', async () => {
    const metrics = (await createMetrics().registry.getMetricsAsJSON()).map(({ name }) => name);
    const ours = metrics.filter((name) => name.startsWith('anchorage_'));
    expect(ours.length).toBeGreaterThan(20);
    expect(ours.filter((name) => !page('metrics').includes(`\`${name}\``))).toEqual([]);
    expect(Object.keys(ERRORS).filter((code) => !page('errors').includes(`\`${code}\``))).toEqual([]);
    expect(Object.keys(SETTINGS).filter((name) => !page('configuration').includes(`\`--${kebab(name)}\``))).toEqual([]);
  });
});
