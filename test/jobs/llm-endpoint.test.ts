import { describe, expect, test } from 'vitest';
import { checkLlmEndpoint } from '../../src/jobs/llm-endpoint.js';

const ALLOWED = ['https://api.example.com/v1', 'http://127.0.0.1:8081'];
const check =
  (baseUrl: string, allowed = ALLOWED) =>
  () =>
    checkLlmEndpoint({ provider: 'openai', llm: { baseUrl } }, allowed);

describe('an LLM endpoint of a job', () => {
  test.each([
    'https://api.example.com/v1',
    'https://API.example.com/v1/',
    'https://api.example.com:443/v1/chat',
    'http://127.0.0.1:8081/anything',
  ])('%s is below one that is listed', (url) => expect(check(url)).not.toThrow());

  test.each([
    'http://169.254.169.254/latest',
    'https://api.example.com',
    'https://api.example.com/v1/../admin',
    'https://api.example.com/v10',
    'https://api.example.com.evil.net/v1',
    'https://api.example.com@evil.net/v1',
    'https://user:key@api.example.com/v1',
    'http://api.example.com/v1',
    'http://127.0.0.1:8082',
    'http://127.0.0.1:8081/?x=http://evil.net',
  ])('%s is not', (url) => expect(check(url)).toThrow(/not below a base URL of --job-llm-urls/));

  test.each([
    'https://api.example.com\\v1\\@evil.net',
    'https://api.example.com/v1\\..\\admin',
    'https://api.example.com/v1\t',
    ' https://api.example.com/v1',
    'https://api.example.com/v1/a b',
    'https://api.example.com/v1\u0000',
    'https://api.example.com/v1\u00a0',
  ])('%j can be read in two ways, and is refused', (url) =>
    expect(check(url)).toThrow(/a backslash, white space or a/),
  );

  test.each([
    ['https://API.example.com:443/v1/./chat/../', 'https://api.example.com/v1/'],
    ['http://127.1:8081', 'http://127.0.0.1:8081/'],
  ])('%s is handed on as it was read', (url, read) => expect(check(url)()).toBe(read));

  test('none is allowed where none is listed, and one is needed', () => {
    expect(check(ALLOWED[0]!, [])).toThrow(/and none is listed/);
    expect(() => checkLlmEndpoint({ provider: 'openai' }, ALLOWED)).toThrow(/is needed by the provider openai/);
    expect(check('http://')).toThrow(/is no URL/);
  });

  test('a provider without an endpoint needs none', () => {
    expect(() => checkLlmEndpoint({ provider: 'corpus' }, [])).not.toThrow();
    expect(() => checkLlmEndpoint({ provider: 'llamacpp', llm: {} }, [])).not.toThrow();
  });
});
