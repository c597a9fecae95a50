import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { createMetrics } from '../../src/metrics.js';

const page = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');

it.each(['prometheus/anchorage.rules.yml', 'prometheus/anchorage.rules.test.yml', 'metrics.md', 'operations.md'])(
  '%s names only metrics that there are',
  async (name) => {
    const known = new Set((await createMetrics().registry.getMetricsAsJSON()).map((metric) => metric.name));
    const named = [...page(name).matchAll(/\banchorage_[a-z0-9_]*[a-z0-9]\b/g)].map(([metric]) => metric);
    expect(named.length).toBeGreaterThan(1);
    expect(named.filter((metric) => !known.has(metric.replace(/_(bucket|sum|count)$/, '')))).toEqual([]);
  },
);
