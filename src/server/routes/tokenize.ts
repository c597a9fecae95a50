/** POST /tokenize and /decode: the model's own tokenizer, in TEI's shape. Offsets count UTF-16 code units of the input. */

import { type Static, Type } from 'typebox';
import { promptNamed } from '../../model/prompts.js';
import type { App } from '../app.js';
import { checkInputBounds } from '../embedding-request.js';
import type { Parts } from '../parts.js';

const TokenizeBody = Type.Object({
  inputs: Type.Union([Type.String(), Type.Array(Type.String())], { description: 'a text or a list of texts' }),
  add_special_tokens: Type.Optional(Type.Boolean({ description: 'default true' })),
  prompt_name: Type.Optional(Type.Union([Type.String(), Type.Null()], { description: 'a string or null' })),
});

const Ids = Type.Array(Type.Integer({ minimum: 0 }));
const DecodeBody = Type.Object({
  ids: Type.Union([Ids, Type.Array(Ids)], { description: 'a list of token ids or a list of such lists' }),
  skip_special_tokens: Type.Optional(Type.Boolean({ description: 'default true' })),
});

const Position = Type.Union([Type.Integer(), Type.Null()]);
const TokenSchema = Type.Object({
  id: Type.Integer(),
  text: Type.String(),
  special: Type.Boolean(),
  start: Position,
  stop: Position,
});

export function tokenizeRoutes(app: App, parts: Parts): void {
  app.post<{ Body: Static<typeof TokenizeBody> }>(
    '/tokenize',
    {
      schema: {
        tags: ['embedding'],
        summary: 'Tokens of texts, with where they stand',
        body: TokenizeBody,
        response: { 200: Type.Array(Type.Array(TokenSchema)) },
      },
    },
    async (request) => {
      const { inputs, add_special_tokens = true, prompt_name } = request.body;
      const { live } = parts.models;
      const texts = typeof inputs === 'string' ? [inputs] : inputs;
      checkInputBounds(texts, 'inputs', parts);
      const prompt = promptNamed(prompt_name ?? undefined, live.manifest);
      const prompted = prompt === '' ? texts : texts.map((text) => prompt + text);
      return live.tokenize(prompted, { addSpecialTokens: add_special_tokens });
    },
  );

  app.post<{ Body: Static<typeof DecodeBody> }>(
    '/decode',
    {
      schema: {
        tags: ['embedding'],
        summary: 'Texts of token ids',
        body: DecodeBody,
        response: { 200: Type.Array(Type.String()) },
      },
    },
    async (request) => {
      const { ids, skip_special_tokens = true } = request.body;
      const lists = (typeof ids[0] === 'number' || ids.length === 0 ? [ids] : ids) as number[][];
      checkInputBounds(lists, 'ids', parts);
      return parts.models.live.decode(lists, { skipSpecialTokens: skip_special_tokens });
    },
  );
}
