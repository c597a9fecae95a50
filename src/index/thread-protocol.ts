/**
 * How the main thread and the index's threads talk: a call has a name of an operation table, one argument object and one
 * answer. Both sides import the table's type, so neither can drift. Errors cross with their code; anything else that is
 * thrown is a programmer's fault and crosses as INTERNAL, its stack in the message's cause.
 */
import type { MessagePort } from 'node:worker_threads';
import { Worker } from 'node:worker_threads';
import { AnchorageError, ERRORS, type ErrorCode } from '../errors.js';
import { workerUrl } from '../worker-url.js';

/** name -> function from its argument to its answer */
export type OperationTable = Record<string, (argument: never) => unknown>;

interface Call {
  readonly id: number;
  readonly operation: string;
  readonly argument: unknown;
}

interface CrossingError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly field: string | undefined;
  readonly stack: string | undefined;
}

type Reply =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: CrossingError }
  | { readonly event: unknown };

export type Handlers<Operations extends OperationTable> = {
  [Name in keyof Operations]: (
    argument: Parameters<Operations[Name]>[0],
  ) => ReturnType<Operations[Name]> | Promise<ReturnType<Operations[Name]>>;
};

/** The thread's side: answers calls as they come; a handler may be asynchronous. */
export function serveCalls<Operations extends OperationTable>(port: MessagePort, handlers: Handlers<Operations>): void {
  port.on('message', async ({ id, operation, argument }: Call) => {
    try {
      const answer = await handlers[operation as keyof Operations](argument as never);
      port.postMessage({ id, answer } satisfies Reply);
    } catch (error) {
      port.postMessage({ id, error: crossing(error) } satisfies Reply);
    }
  });
}

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/** The main thread's side. */
export class IndexThread<Operations extends OperationTable> {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  private ended: Error | undefined;

  /** @param path of the worker below dist/. @param onEvent what the thread posts of its own accord. */
  constructor(path: string, workerData: unknown, onEvent: (event: never) => void = () => {}) {
    this.worker = new Worker(workerUrl(path), { workerData });
    this.worker.on('message', (reply: Reply) => {
      if ('event' in reply) onEvent(reply.event as never);
      else this.settle(reply);
    });
    this.worker.on('error', (error) => this.end(error));
    this.worker.on('exit', (code) => this.end(new Error(`${path} ended with ${code}`)));
  }

  call<Name extends keyof Operations & string>(
    operation: Name,
    argument: Parameters<Operations[Name]>[0],
  ): Promise<ReturnType<Operations[Name]>> {
    if (this.ended) return Promise.reject(threadIsGone(this.ended));
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (answer: never) => void, reject });
      this.worker.postMessage({ id, operation, argument } satisfies Call);
    });
  }

  /** Ends the thread after what it does now. */
  async terminate(): Promise<void> {
    this.ended ??= new Error('closed');
    await this.worker.terminate();
  }

  private settle(reply: Exclude<Reply, { event: unknown }>): void {
    const waiting = this.waiting.get(reply.id);
    this.waiting.delete(reply.id);
    if ('error' in reply) waiting?.reject(arrived(reply.error));
    else waiting?.resolve(reply.answer as never);
  }

  /** What was durable stays so; calls in flight are refused, their outcome unknown to us. */
  private end(error: Error): void {
    this.ended ??= error;
    for (const { reject } of this.waiting.values()) reject(threadIsGone(this.ended));
    this.waiting.clear();
  }
}

function crossing(error: unknown): CrossingError {
  const { message, stack } = error as Error;
  if (error instanceof AnchorageError) return { code: error.code, message, field: error.field, stack };
  return { code: 'INTERNAL', message, field: undefined, stack };
}

function arrived({ code, message, field, stack }: CrossingError): AnchorageError {
  const details = { ...(field === undefined ? {} : { field }), cause: stack };
  return new AnchorageError(Object.hasOwn(ERRORS, code) ? code : 'INTERNAL', message, details);
}

const threadIsGone = (cause: Error): AnchorageError =>
  new AnchorageError('INTERNAL', `The index is closed or its thread ended (${cause.message}); restart the server`, {
    cause,
  });
