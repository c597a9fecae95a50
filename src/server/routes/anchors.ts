/** POST /anchors: which tokens an embedding hangs on, by the weight that the model's pooling gives each of them. */

import { type Static, Type } from 'typebox';
import { promptNamed } from '../../model/prompts.js';
import { AnchorSchema, heaviest } from '../anchor-json.js';
import type { App } from '../app.js';
import { checkInputBounds, InputsSchema, laneOf, listInputs, writeUsageHeaders } from '../embedding-request.js';
import { hangUpSignal } from '../hang-up.js';
import type { Parts } from '../parts.js';

const AnchorsBody = Type.Object(
  {
    inputs: InputsSchema,
    top: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 100_000, description: 'only the heaviest so many, heaviest first' }),
    ),
    prompt_name: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
);

export function anchorRoutes(app: App, parts: Parts): void {
  app.post<{ Body: Static<typeof AnchorsBody> }>(
    '/anchors',
    {
      schema: {
        tags: ['embedding'],
        summary: 'The weight of every token in the embedding',
        body: AnchorsBody,
        response: { 200: Type.Array(Type.Array(AnchorSchema)) },
      },
    },
    async (request, reply) => {
      const { inputs: given, top, prompt_name } = request.body;
      const { live } = parts.models;
      const inputs = listInputs(given);
      checkInputBounds(inputs, 'inputs', parts);
      const prompt = promptNamed(prompt_name, live.manifest);
      const answer = await live.anchors(inputs, { prompt, lane: laneOf(inputs), signal: hangUpSignal(reply) });
      writeUsageHeaders(reply, live.manifest, answer);
      return answer.anchors.map((anchors) => (top === undefined ? [...anchors] : heaviest(anchors, top)));
    },
  );
}
