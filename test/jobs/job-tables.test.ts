import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JobTables } from '../../src/jobs/job-tables.js';

let folder: string;
let tables: JobTables;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'anchorage-jobs-'));
  tables = new JobTables(join(folder, 'jobs.sqlite'));
});
afterEach(() => {
  tables.close();
  rmSync(folder, { recursive: true });
});

const createdAt = '2025-01-01T00:00:00.000Z';
const create = (id: string, more: { idempotencyKey?: string; queuedMax?: number; params?: object } = {}) =>
  tables.create({ id, type: 'finetune', createdAt, queuedMax: 3, ...more, params: { ...more.params } });

describe('the table of jobs', () => {
  it('keeps what it was told, over a restart', () => {
    create('a', { params: { steps: 3 } });
    tables.update({
      id: 'a',
      patch: { state: 'running', metrics: { loss: 0.5 }, memory: { steps: { first: { n: 1 } } } },
    });
    tables.close();
    tables = new JobTables(join(folder, 'jobs.sqlite'));
    expect(tables.get({ id: 'a' })).toMatchObject({ state: 'running', params: { steps: 3 }, metrics: { loss: 0.5 } });
    expect(tables.memory({ id: 'a' })).toEqual({ steps: { first: { n: 1 } } });
  });

  it('holds the queue in the order of asking, and to its bound', () => {
    for (const id of ['a', 'b', 'c']) create(id);
    expect(() => create('d')).toThrow('3 jobs are waiting, the most allowed');
    expect(tables.inOrder({ state: 'queued' }).map(({ job }) => job.id)).toEqual(['a', 'b', 'c']);
    tables.update({ id: 'a', patch: { state: 'running' } });
    create('d');
    expect(tables.list({ limit: 2 }).map(({ id }) => id)).toEqual(['d', 'c']);
  });

  it('answers a repeated request with the job that it made, and refuses its key for another', () => {
    create('a', { idempotencyKey: 'k', params: { seed: 1 } });
    expect(create('b', { idempotencyKey: 'k', params: { seed: 1 } })).toMatchObject({ isNew: false, job: { id: 'a' } });
    expect(() => create('c', { idempotencyKey: 'k', params: { seed: 2 } })).toThrow(
      /Idempotency-Key: it belongs to job a/,
    );
    expect(tables.list({ limit: 10 })).toHaveLength(1);
  });

  it('leaves a job that is over as it is', () => {
    create('a');
    tables.update({ id: 'a', patch: { state: 'cancelled' } });
    expect(tables.update({ id: 'a', patch: { state: 'running' }, events: [{ event: 'state', data: {} }] })).toEqual([]);
    expect(tables.get({ id: 'a' })?.state).toBe('cancelled');
    expect(tables.events({ id: 'a', after: 0 })).toEqual([]);
  });

  it('numbers events and gives those after a number', () => {
    create('a');
    for (const n of [1, 2, 3]) tables.update({ id: 'a', patch: {}, events: [{ event: 'note', data: { n } }] });
    expect(tables.events({ id: 'a', after: 1 }).map(({ sequence, data }) => [sequence, data.n])).toEqual([
      [2, 2],
      [3, 3],
    ]);
  });

  it('thins out old progress and nothing else, and keeps the newest', () => {
    create('a');
    tables.update({ id: 'a', patch: {}, events: [{ event: 'checkpoint', data: { step: 0 } }] });
    const progress = Array.from({ length: 5_000 }, (_, step) => ({
      event: 'progress',
      data: { step, loss: 1 / (step + 1) },
    }));
    tables.update({ id: 'a', patch: {}, events: progress });
    const curve = tables.curve({ id: 'a', points: 100_000 });
    expect(curve.length).toBeGreaterThan(2_000);
    expect(curve.length).toBeLessThan(4_600);
    expect(curve.at(-1)!.data.step).toBe(4_999);
    expect(tables.events({ id: 'a', after: 0 })[0]!.event).toBe('checkpoint');
    const shown = tables.curve({ id: 'a', points: 100 });
    expect(shown.length).toBeLessThanOrEqual(101);
    expect(shown.at(-1)!.data.step).toBe(4_999);
  });

  it('counts every type and state, those without a job, too', () => {
    create('a');
    const counts = tables.counts();
    expect(counts).toContainEqual({ type: 'finetune', state: 'queued', jobs: 1 });
    expect(counts).toContainEqual({ type: 'export', state: 'failed', jobs: 0 });
  });

  it('removes the oldest that are over, but for those that are needed', () => {
    for (const id of ['a', 'b', 'c']) {
      create(id);
      tables.update({ id, patch: { state: 'succeeded' } });
    }
    create('d');
    expect(tables.prune({ kept: 1, except: ['a'] })).toEqual(['b']);
    expect(tables.list({ limit: 10 }).map(({ id }) => id)).toEqual(['d', 'c', 'a']);
  });
});
