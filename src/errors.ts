/**
 * The one table of operational errors. Always true here: every error that a client, operator or command-line user can
 * cause is thrown as an AnchorageError with a code of this table; anything else that is thrown is a programmer's fault.
 * The families (TEI, OpenAI, Cohere, ours) render the same error in their own shape; see server/error-replies.ts.
 *
 * `teiType` is Text Embeddings Inference's `error_type` for the same condition; `meaning` is the line of docs/errors.md.
 */
interface ErrorEntry {
  readonly status: number;
  readonly teiType: 'Empty' | 'Validation' | 'Tokenizer' | 'Backend' | 'Overloaded' | 'Unhealthy';
  readonly meaning: string;
}

export const ERRORS = {
  EMPTY_INPUT: { status: 400, teiType: 'Empty', meaning: 'A request held no text, or a text held nothing to embed.' },
  INVALID_JSON: { status: 400, teiType: 'Validation', meaning: 'The body is not JSON, or was cut off.' },
  EMPTY_BODY: { status: 400, teiType: 'Validation', meaning: 'The route needs a JSON body and got none.' },
  UNAUTHORIZED: { status: 401, teiType: 'Validation', meaning: 'No token, or a wrong one.' },
  NOT_FOUND: { status: 404, teiType: 'Validation', meaning: 'No such route, collection, document, model or job.' },
  METHOD_NOT_ALLOWED: { status: 405, teiType: 'Validation', meaning: 'The route exists, but not for this method.' },
  CONFLICT: { status: 409, teiType: 'Validation', meaning: 'The request contradicts what is already there.' },
  MODEL_MISMATCH: { status: 409, teiType: 'Validation', meaning: 'The collection holds vectors of another model.' },
  PAYLOAD_TOO_LARGE: {
    status: 413,
    teiType: 'Validation',
    meaning: 'The body, a text or the list of texts is too large.',
  },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    teiType: 'Validation',
    meaning: 'The body is of a type that the route does not read.',
  },
  VALIDATION: {
    status: 422,
    teiType: 'Validation',
    meaning: 'A field is missing, unknown, of the wrong type or out of bounds.',
  },
  TEXT_TOO_LONG: {
    status: 413,
    teiType: 'Tokenizer',
    meaning: 'A text has more tokens than the model takes, and truncation was off.',
  },
  INVALID_TOKENS: { status: 422, teiType: 'Tokenizer', meaning: 'A token id is not in the vocabulary.' },
  INFERENCE_FAILED: { status: 424, teiType: 'Backend', meaning: 'The model could not compute this input.' },
  OVERLOADED: { status: 429, teiType: 'Overloaded', meaning: 'The queue is full; Retry-After says when to come back.' },
  CLIENT_CLOSED: { status: 499, teiType: 'Validation', meaning: 'The client hung up before the answer was ready.' },
  INTERNAL: { status: 500, teiType: 'Backend', meaning: 'A fault of the server; the log has it under the request id.' },
  UNHEALTHY: {
    status: 503,
    teiType: 'Unhealthy',
    meaning: 'The model is not loaded, or its last forward pass failed.',
  },
  STORAGE_FULL: {
    status: 507,
    teiType: 'Backend',
    meaning: 'The disk refused the write; nothing of the request was stored.',
  },
  CONFIG_INVALID: {
    status: 500,
    teiType: 'Validation',
    meaning: 'A setting is unknown or out of bounds; the start stops.',
  },
  DATA_DIR_IN_USE: { status: 500, teiType: 'Backend', meaning: 'Another process serves this data directory.' },
  MODEL_INVALID: {
    status: 500,
    teiType: 'Backend',
    meaning: 'A model version is damaged, or not what its manifest says.',
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorDetails {
  /** The request field at fault, as a path: `documents[3].vector`. */
  readonly field?: string;
  /** Seconds after which a retry makes sense; becomes the Retry-After header. */
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** An error that somebody outside the program caused and can mend. The message says what, where, and what to do. */
export class AnchorageError extends Error {
  readonly code: ErrorCode;
  readonly field: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'AnchorageError';
    this.code = code;
    this.field = details.field;
    this.retryAfterSeconds = details.retryAfterSeconds;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }
}
