/** /admin/snapshots: copies of all collections, made and put back while serving. */
import { type Static, Type } from 'typebox';
import type { App } from '../app.js';
import type { Parts } from '../parts.js';

const Snapshot = Type.Object({
  id: Type.String(),
  createdAt: Type.String(),
  bytes: Type.Integer(),
  collections: Type.Array(Type.Object({ name: Type.String(), documents: Type.Integer(), sequence: Type.Integer() })),
});
const IdParams = Type.Object({ id: Type.String() });
const schema = (summary: string, answer: object) => ({
  tags: ['admin'],
  security: [{ bearer: [] }],
  summary,
  response: { 200: answer },
});

export function snapshotRoutes(app: App, { collections }: Parts): void {
  app.post('/admin/snapshots', { schema: schema('Copy all collections while serving', Snapshot) }, async () =>
    collections.backUp(),
  );
  app.get(
    '/admin/snapshots',
    { schema: schema('List snapshots, newest first', Type.Object({ snapshots: Type.Array(Snapshot) })) },
    async () => ({ snapshots: await collections.backups() }),
  );
  app.post<{ Params: Static<typeof IdParams> }>(
    '/admin/snapshots/:id/restore',
    { schema: { ...schema('Make the collections what they were', Snapshot), params: IdParams } },
    async (request) => collections.restore(request.params.id),
  );
}
