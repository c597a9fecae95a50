import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Native addons (onnxruntime, better-sqlite3, hnswlib) are loaded by worker threads of the code under test, so each
    // test file gets its own process rather than another layer of threads.
    pool: 'forks',
    env: { ORT_DISABLE_TELEMETRY: '1' },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
