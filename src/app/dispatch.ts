/**
 * The one way in for every request, from whichever socket: known operation, valid parameters, audit before and after,
 * handler. What operations do is in operations/.
 */
import * as v from 'valibot';
import { OPERATIONS, type OperationName, type Params, type Results } from '../api/operations.ts';
import type { Notify } from '../api/rpc.ts';
import { asFault, Fault, isFault } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import { nearest, printable } from '../lib/text.ts';
import type { Actor, AuditTrail } from '../model/audit.ts';

/** What a handler knows of the request besides its parameters. */
export interface Call {
  readonly actor: Actor;
  readonly notify: Notify;
  /** Aborted when the client hangs up. */
  readonly signal: AbortSignal;
}

/** One handler for each operation: a missing one does not compile. */
export type Handlers = {
  readonly [O in OperationName]: (params: Params<O>, call: Call) => Promise<Results[O]>;
};

/** Performs requests. */
export class Dispatcher {
  readonly #handlers: Handlers;
  readonly #audit: AuditTrail;
  readonly #log: Log;

  constructor(options: { readonly handlers: Handlers; readonly audit: AuditTrail; readonly log: Log }) {
    this.#handlers = options.handlers;
    this.#audit = options.audit;
    this.#log = options.log;
  }

  /** Performs an operation. @throws Fault `rpc.unknown_operation`, `params.invalid`, or what the operation throws */
  async perform(untrustedOperation: string, untrustedParams: unknown, call: Call): Promise<unknown> {
    const operation = knownOperation(untrustedOperation);
    const params = validParams(operation, untrustedParams);
    if (OPERATIONS[operation].class === 'read') return await this.#handle(operation, params, call);
    const subject = params as { vm?: string; device?: string; at?: string };
    const intent = this.#audit.intend({
      actor: call.actor,
      action: operation,
      vm: subject.vm,
      device: operation === 'usb.assign' ? undefined : (subject.device ?? subject.at),
      details: auditable(params),
      isCovered: operation.startsWith('usb.'), // Devices move by steps, and each step has an intent of its own.
    });
    try {
      const result = await this.#handle(operation, params, call);
      this.#audit.conclude(intent, 'ok');
      return result;
    } catch (error) {
      const fault = asFault(error);
      this.#audit.conclude(intent, fault.code === 'denied' ? 'denied' : 'failed', {
        error: fault.message,
        code: fault.code,
      });
      throw fault;
    }
  }

  async #handle<O extends OperationName>(operation: O, params: Params<O>, call: Call): Promise<Results[O]> {
    try {
      return await this.#handlers[operation](params, call);
    } catch (error) {
      if (!isFault(error) || error.code === 'internal')
        this.#log.error('an operation failed by a bug', { operation, error });
      throw error;
    }
  }
}

function knownOperation(untrusted: string): OperationName {
  if (Object.hasOwn(OPERATIONS, untrusted)) return untrusted as OperationName;
  const near = nearest(untrusted, Object.keys(OPERATIONS));
  const hint = near === undefined ? undefined : `Did you mean "${near}"?`;
  throw new Fault('rpc.unknown_operation', { operation: printable(untrusted, 64) }, { hint });
}

function validParams<O extends OperationName>(operation: O, untrusted: unknown): Params<O> {
  const checked = v.safeParse(OPERATIONS[operation].params, untrusted);
  if (checked.success) return checked.output as Params<O>;
  const issue = checked.issues[0];
  const field = v.getDotPath(issue) ?? 'params';
  const isMissing = issue.received === 'undefined' && issue.expected !== 'never';
  const what = isMissing ? 'it is missing' : printable(issue.message.replace(/\.$/, ''), 200);
  throw new Fault('params.invalid', { field: printable(field, 64), what });
}

/** Parameters as the trail keeps them: a config's content by its length. */
function auditable(params: object): Record<string, unknown> {
  const { content, ...rest } = params as { content?: string };
  return content === undefined ? rest : { ...rest, contentBytes: Buffer.byteLength(content) };
}
