import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openRealApp, type RealApp } from '../server/real-app.js';

let real: RealApp;
beforeAll(async () => {
  real = await openRealApp();
  await real.app.ready();
});
afterAll(() => real.close());

/** `POST /embed`, from the first cell of a route table's rows. */
function routesOfPage(): string[] {
  const page = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8');
  return [...page.matchAll(/^\| ((?:GET|POST|PUT|PATCH|DELETE) \/\S*) \|/gm)].map((match) => match[1]!);
}

function routesOfServer(): string[] {
  const { paths = {} } = real.app.swagger() as { paths?: Record<string, Record<string, unknown>> };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
}

it('the API page lists exactly the routes of the OpenAPI document', () => {
  const served = routesOfServer();
  expect(served.length).toBeGreaterThan(20);
  expect(routesOfPage().sort()).toEqual(served.sort());
});
