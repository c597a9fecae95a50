/** /admin/snapshots: copies of all collections, made and put back while serving. */
import type { IncomingMessage } from 'node:http';
import { type Static, Type } from 'typebox';
import type { App } from '../app.js';
import { isStream, JSON_TYPE } from '../media-types.js';
import type { Parts } from '../parts.js';

const Snapshot = Type.Object({
  id: Type.String(),
  createdAt: Type.String(),
  bytes: Type.Integer(),
  collections: Type.Array(Type.Object({ name: Type.String(), documents: Type.Integer(), sequence: Type.Integer() })),
});
const TAR = 'application/x-tar';
/** What many clients send where they have nothing to say. */
const Nothing = Type.Object({}, { additionalProperties: false });
const IdParams = Type.Object({ id: Type.String() });
const schema = (summary: string, answer: object) => ({
  tags: ['admin'],
  security: [{ bearer: [] }],
  summary,
  response: { 200: answer },
});

export function snapshotRoutes(app: App, { collections }: Parts): void {
  // Left in the socket: backup-archive.ts unpacks it as it comes.
  app.addContentTypeParser(TAR, (_request, stream, done) => done(null, stream));

  app.post<{ Body: IncomingMessage | Static<typeof Nothing> | undefined }>(
    '/admin/snapshots',
    {
      schema: {
        ...schema('Copy all collections while serving, or take in a copy that was downloaded', Snapshot),
        description: `Without a body, or with {}, makes a copy. With the body of a download (${TAR}), stores it beside the others.`,
        body: { content: { [JSON_TYPE]: { schema: Nothing }, [TAR]: { schema: {} } } },
      },
    },
    async ({ body }) => (isStream(body) ? collections.receive(body) : collections.backUp()),
  );
  app.get(
    '/admin/snapshots',
    { schema: schema('List snapshots, newest first', Type.Object({ snapshots: Type.Array(Snapshot) })) },
    async () => ({ snapshots: await collections.backups() }),
  );
  app.get<{ Params: Static<typeof IdParams> }>(
    '/admin/snapshots/:id',
    {
      schema: {
        tags: ['admin'],
        security: [{ bearer: [] }],
        summary: 'Download a copy as a tar file',
        params: IdParams,
        response: { 200: { content: { [TAR]: { schema: {} } } } },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const archive = await collections.archive(id);
      return reply.type(TAR).header('content-disposition', `attachment; filename="anchorage-${id}.tar"`).send(archive);
    },
  );
  app.delete<{ Params: Static<typeof IdParams> }>(
    '/admin/snapshots/:id',
    { schema: { ...schema('Delete a copy', Type.Object({ deleted: Type.Boolean() })), params: IdParams } },
    async (request) => {
      await collections.deleteBackup(request.params.id);
      return { deleted: true };
    },
  );
  app.post<{ Params: Static<typeof IdParams> }>(
    '/admin/snapshots/:id/restore',
    { schema: { ...schema('Make the collections what they were', Snapshot), params: IdParams } },
    async (request) => collections.restore(request.params.id),
  );
}
