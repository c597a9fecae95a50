/** /admin/jobs: what is asked for, what became of it, its events as they come, its log, its end. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type Static, Type } from 'typebox';
import { AnchorageError } from '../../errors.js';
import { fillParams } from '../../jobs/check-params.js';
import { JOB_STATES, JOB_TYPES, type JobEvent, type JobType, type Json } from '../../jobs/job.js';
import { PARAMS } from '../../jobs/params.js';
import type { App } from '../app.js';
import { hangUpSignal } from '../hang-up.js';
import type { Parts } from '../parts.js';
import { describeTypeBoxErrors } from '../schema-errors.js';

const LISTED_MAX = 1000;
const TAIL_BYTES_MAX = 16 * 1024 * 1024;

const JobBody = Type.Object(
  {
    type: Type.Enum([...JOB_TYPES]),
    params: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), { description: 'GET /admin/job-types has the schema of each kind' }),
    ),
  },
  { additionalProperties: false },
);
const Nullable = <Schema extends Parameters<typeof Type.Union>[0][number]>(schema: Schema) =>
  Type.Union([schema, Type.Null()]);
const Anything = Type.Object({}, { additionalProperties: true });
export const JobJson = Type.Object({
  id: Type.String(),
  type: Type.Enum([...JOB_TYPES]),
  state: Type.Enum([...JOB_STATES]),
  params: Anything,
  stage: Nullable(Type.String()),
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  etaSeconds: Nullable(Type.Number()),
  createdAt: Type.String(),
  startedAt: Nullable(Type.String()),
  finishedAt: Nullable(Type.String()),
  attempts: Type.Integer(),
  metrics: Anything,
  artifacts: Anything,
  error: Nullable(Type.Object({ reason: Type.String(), message: Type.String(), lines: Type.Array(Type.String()) })),
});
const JobWithCurve = Type.Object({ ...JobJson.properties, curve: Type.Array(Anything) });
const IdParams = Type.Object({ id: Type.String({ maxLength: 100 }) });
const ListQuery = Type.Object(
  {
    state: Type.Optional(Type.Enum([...JOB_STATES])),
    limit: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,3}$' })),
  },
  { additionalProperties: false },
);
const LogQuery = Type.Object(
  { tail: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,7}$', description: 'the last so many bytes' })) },
  { additionalProperties: false },
);

const admin = { tags: ['admin'], security: [{ bearer: [] }] };

export function jobRoutes(app: App, { jobs }: Parts): void {
  app.post<{ Body: Static<typeof JobBody> }>(
    '/admin/jobs',
    {
      schema: {
        ...admin,
        summary: 'Queue a job',
        description: 'An Idempotency-Key header makes a repeated request answer with the job that the first one made.',
        body: JobBody,
        response: { 202: JobJson },
      },
    },
    async (request, reply) => {
      const { type, params = {} } = request.body;
      const { job } = await jobs.submit(type, filled(type, params), idempotencyKey(request.headers['idempotency-key']));
      return reply.code(202).header('location', `/admin/jobs/${job.id}`).send(job);
    },
  );

  app.get<{ Querystring: Static<typeof ListQuery> }>(
    '/admin/jobs',
    {
      schema: {
        ...admin,
        summary: 'Jobs, newest first',
        querystring: ListQuery,
        response: { 200: Type.Object({ jobs: Type.Array(JobJson) }) },
      },
    },
    async (request) => {
      const { state, limit = '100' } = request.query;
      return { jobs: await jobs.list(Math.min(LISTED_MAX, Number(limit)), state) };
    },
  );

  app.get(
    '/admin/job-types',
    { schema: { ...admin, summary: 'The kinds of jobs, and the JSON schema of what each takes' } },
    async () => ({ types: PARAMS }),
  );

  app.get<{ Params: Static<typeof IdParams> }>(
    '/admin/jobs/:id',
    {
      schema: {
        ...admin,
        summary: 'A job, with its training curve',
        params: IdParams,
        response: { 200: JobWithCurve },
      },
    },
    async (request) => {
      const { id } = request.params;
      const [job, curve] = await Promise.all([jobs.get(id), jobs.curve(id)]);
      return { ...job, curve };
    },
  );

  app.delete<{ Params: Static<typeof IdParams> }>(
    '/admin/jobs/:id',
    {
      schema: {
        ...admin,
        summary: 'Cancel a job: its processes end, its checkpoint stays',
        params: IdParams,
        response: { 200: JobJson },
      },
    },
    async (request) => jobs.cancel(request.params.id),
  );

  app.get<{ Params: Static<typeof IdParams> }>(
    '/admin/jobs/:id/events',
    {
      schema: {
        ...admin,
        summary: 'What happens in a job, as server-sent events',
        description: 'From the beginning, or after the event that Last-Event-ID names; ends when the job is over.',
        params: IdParams,
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const after = lastEventId(request.headers['last-event-id']);
      await jobs.get(id);
      const events = serverSent(jobs.events(id, after, hangUpSignal(reply)));
      return reply
        .type('text/event-stream')
        .header('cache-control', 'no-store')
        .header('x-accel-buffering', 'no')
        .send(Readable.from(events, { objectMode: false }));
    },
  );

  app.get<{ Params: Static<typeof IdParams>; Querystring: Static<typeof LogQuery> }>(
    '/admin/jobs/:id/log',
    { schema: { ...admin, summary: 'The plain log of a job', params: IdParams, querystring: LogQuery } },
    async (request, reply) => {
      const job = await jobs.get(request.params.id);
      const file = join(jobs.folderOf(job.id), 'log.txt');
      const { size } = await stat(file).catch(() => ({ size: 0 }));
      reply.type('text/plain; charset=utf-8');
      if (size === 0) return reply.send('');
      const tail = Math.min(size, Number(request.query.tail ?? TAIL_BYTES_MAX));
      // The end is fixed: a log that grows meanwhile must not make the answer longer than it began.
      return reply.send(createReadStream(file, { start: size - tail, end: size - 1 }));
    },
  );
}

function filled(type: JobType, given: Json): Json {
  const outcome = fillParams(type, given);
  if ('params' in outcome) return outcome.params;
  const { message, field } = describeTypeBoxErrors(outcome.faults, 'params');
  throw new AnchorageError('VALIDATION', message, { field });
}

async function* serverSent(events: AsyncIterable<JobEvent | 'idle'>): AsyncGenerator<string> {
  // The first bytes at once: a client knows that it listens before anything happens.
  yield ': events of one job\n\n';
  for await (const event of events) {
    if (event === 'idle') yield ': still here\n\n';
    else {
      const data = JSON.stringify({ at: event.at, ...event.data });
      yield `id: ${event.sequence}\nevent: ${event.event}\ndata: ${data}\n\n`;
    }
  }
}

function idempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (typeof header === 'string' && /^[\x21-\x7e]{1,200}$/.test(header)) return header;
  const message = 'Idempotency-Key: 1 to 200 printable characters without spaces are expected';
  throw new AnchorageError('VALIDATION', message, { field: 'Idempotency-Key' });
}

function lastEventId(header: string | string[] | undefined): number {
  if (header === undefined || header === '') return 0;
  if (typeof header === 'string' && /^\d{1,15}$/.test(header)) return Number(header);
  throw new AnchorageError('VALIDATION', 'Last-Event-ID: the id of an event of this job is expected', {
    field: 'Last-Event-ID',
  });
}
