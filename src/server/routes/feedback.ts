/** POST /feedback: what somebody found a search result to be. Off unless the setting `feedback` is on. */
import { type Static, Type } from 'typebox';
import { AnchorageError } from '../../errors.js';
import type { Feedback } from '../../jobs/feedback.js';
import type { App } from '../app.js';
import type { Parts } from '../parts.js';

const LABELS: Readonly<Record<string, number>> = { irrelevant: 0, click: 1, relevant: 2 };

const FeedbackBody = Type.Object(
  {
    queryId: Type.String({ minLength: 1, maxLength: 100, description: 'as the answer of /search has it' }),
    documentId: Type.String({ minLength: 1, maxLength: 512 }),
    label: Type.Union([Type.Enum(['click', 'relevant', 'irrelevant']), Type.Number({ minimum: 0, maximum: 3 })], {
      description: '"click", "relevant", "irrelevant", or a grade from 0 (no answer) to 3',
    }),
  },
  { additionalProperties: false },
);
const Stored = Type.Object({ stored: Type.Boolean() });
const Counts = Type.Object({
  enabled: Type.Boolean(),
  queries: Type.Integer(),
  labels: Type.Integer(),
  oldestAt: Type.Union([Type.String(), Type.Null()]),
});

export function feedbackRoutes(app: App, { collections, feedback }: Parts): void {
  app.post<{ Body: Static<typeof FeedbackBody> }>(
    '/feedback',
    {
      schema: {
        tags: ['documents'],
        summary: 'Say what a search result was worth',
        body: FeedbackBody,
        response: { 200: Stored },
      },
    },
    async (request) => {
      const { queryId, documentId, label } = request.body;
      const enabled = orRefuse(feedback);
      const { collection } = await enabled.query(queryId);
      const [document] = await collections.get(collection).get([documentId], []);
      if (!document) {
        const message = `documentId: there is no document ${documentId} in ${collection}, where that search was made`;
        throw new AnchorageError('NOT_FOUND', message, { field: 'documentId' });
      }
      await enabled.add({ queryId, documentId, label: typeof label === 'number' ? label : LABELS[label]! });
      return { stored: true };
    },
  );

  const admin = { tags: ['admin'], security: [{ bearer: [] }] };
  app.get(
    '/admin/feedback',
    { schema: { ...admin, summary: 'How much feedback is kept', response: { 200: Counts } } },
    async () => {
      if (!feedback) return { enabled: false, queries: 0, labels: 0, oldestAt: null };
      const { oldestMs, ...counts } = await feedback.counts();
      return { enabled: true, ...counts, oldestAt: oldestMs === null ? null : new Date(oldestMs).toISOString() };
    },
  );
  app.delete(
    '/admin/feedback',
    {
      schema: {
        ...admin,
        summary: 'Forget all feedback, and the searches that it was for',
        response: { 200: Type.Object({ forgotten: Type.Integer() }) },
      },
    },
    async () => ({ forgotten: await orRefuse(feedback).clear() }),
  );
}

function orRefuse(feedback: Feedback | undefined): Feedback {
  if (feedback) return feedback;
  throw new AnchorageError('CONFLICT', 'feedback is off: start the server with --feedback to keep it');
}
