/** The head of the OpenAPI document; its paths come from the routes' own schemas. */
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import { VERSION } from '../version.js';

export const OPENAPI: FastifyDynamicSwaggerOptions = {
  openapi: {
    openapi: '3.1.0',
    info: {
      title: 'Anchorage',
      version: VERSION,
      description: 'Embeddings pooled by the attention each token receives, kept in a durable index and searched.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    tags: [
      { name: 'embedding', description: "Text Embeddings Inference's routes, and anchors" },
      { name: 'openai', description: "OpenAI's routes" },
      { name: 'cohere', description: "Cohere's v2 routes" },
      { name: 'documents', description: 'Collections, documents and search' },
      { name: 'operation', description: 'Health, metrics and information' },
      { name: 'admin', description: 'Needs the admin token' },
    ],
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    security: [{}, { bearer: [] }],
  },
};
