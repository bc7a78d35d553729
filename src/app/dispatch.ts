/**
 * The one way in for every request, from whichever socket: known operation, the right to it, valid parameters, audit
 * before and after, handler. What operations do is in operations/.
 */
import * as v from 'valibot';
import type { Action, ApartAction } from '../api/access.ts';
import { OPERATIONS, type OperationName, type Params, type Results } from '../api/operations.ts';
import type { Notify } from '../api/rpc.ts';
import { asFault, Fault, isFault } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import { nearest, printable } from '../lib/text.ts';
import type { Actor, AuditState, AuditTrail } from '../model/audit.ts';
import type { Access } from './access.ts';
import type { Denials } from './denials.ts';

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

/** Tells what is the case with what a request is about; with its answer, once it has been performed. Never throws. */
export type StateOf = (operation: OperationName, params: object, answer?: unknown) => AuditState | undefined;

export interface DispatcherOptions {
  readonly handlers: Handlers;
  readonly access: Access;
  readonly audit: AuditTrail;
  readonly denials: Denials;
  readonly stateOf: StateOf;
  readonly log: Log;
}

/** Their steps have intents of their own, which are on the disk before anything is done, and take this one with them. */
const COVERED: ReadonlySet<OperationName> = new Set(['usb.attach', 'usb.detach', 'usb.reconcile']);

/** Performs requests. */
export class Dispatcher {
  readonly #options: DispatcherOptions;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /**
   * Performs an operation. @throws Fault `rpc.unknown_operation`, `denied`, `params.invalid`, `audit.unwritable`, or what
   * the operation throws
   */
  async perform(untrustedOperation: string, untrustedParams: unknown, call: Call): Promise<unknown> {
    const operation = knownOperation(untrustedOperation);
    this.#admit(operation, untrustedParams, call.actor);
    const params = validParams(operation, untrustedParams);
    if (operation === 'preview') {
      // What it tells is what the operation would: files of the host, whether a VM or a device is there.
      const asked = params as Params<'preview'>;
      this.#admit(knownOperation(asked.operation), asked.params, call.actor);
    }
    const { access, audit, stateOf } = this.#options;
    if (OPERATIONS[operation].class === 'read') {
      return access.visible(operation, await this.#handle(operation, params, call), call.actor);
    }
    const subject = subjectOf(operation, params);
    const before = stateOf(operation, params);
    const isCovered = COVERED.has(operation);
    const intent = audit.intend({
      ...{ actor: call.actor, action: operation, ...subject, details: auditable(params), before, isCovered },
    });
    let answer: unknown;
    try {
      answer = await this.#handle(operation, params, call);
    } catch (error) {
      const { code, message } = asFault(error);
      const outcome = code === 'denied' ? 'denied' : 'failed';
      audit.conclude(intent, outcome, { error: message, code }, stateOf(operation, params));
      throw asFault(error);
    }
    audit.conclude(intent, 'ok', undefined, stateOf(operation, params, answer));
    return answer;
  }

  /** Admits what is no operation; what changes something goes into the trail. @throws Fault `denied`, `audit.unwritable` */
  admitApart(action: ApartAction, vm: string, actor: Actor): void {
    this.#admit(action, { vm }, actor);
    if (action === 'monitor.status') return;
    const { audit } = this.#options;
    audit.conclude(audit.intend({ actor, action, vm, isCovered: true }), 'ok');
  }

  #admit(action: Action, untrustedParams: unknown, actor: Actor): void {
    const { access, denials } = this.#options;
    try {
      access.demand(action, untrustedParams, actor);
    } catch (error) {
      const named = subjectOf(action, untrustedParams ?? {});
      if (isFault(error, 'denied')) denials.note({ actor, action, ...named, fault: error });
      throw error;
    }
  }

  async #handle<O extends OperationName>(operation: O, params: Params<O>, call: Call): Promise<Results[O]> {
    const { handlers, log } = this.#options;
    try {
      return await handlers[operation](params, call);
    } catch (error) {
      if (!isFault(error) || error.code === 'internal') log.error('an operation failed by a bug', { operation, error });
      throw error;
    }
  }
}

/** @throws Fault `rpc.unknown_operation` */
export function knownOperation(untrusted: string): OperationName {
  if (Object.hasOwn(OPERATIONS, untrusted)) return untrusted as OperationName;
  const near = nearest(untrusted, Object.keys(OPERATIONS));
  const hint = near === undefined ? undefined : `Did you mean "${near}"?`;
  throw new Fault('rpc.unknown_operation', { operation: printable(untrusted, 64) }, { hint });
}

/** @throws Fault `params.invalid` with the field */
export function validParams<O extends OperationName>(operation: O, untrusted: unknown): Params<O> {
  const checked = v.safeParse(OPERATIONS[operation].params, untrusted);
  if (checked.success) return checked.output as Params<O>;
  const issue = checked.issues[0];
  const field = v.getDotPath(issue) ?? 'params';
  const isMissing = issue.received === 'undefined' && issue.expected !== 'never';
  const what = isMissing ? 'it is missing' : printable(issue.message.replace(/\.$/, ''), 200);
  throw new Fault('params.invalid', { field: printable(field, 64), what });
}

/** What a request is about, as the trail has it; the `device` of an assignment is a pattern, and so is in the details. */
function subjectOf(action: Action, untrustedParams: object): { vm?: string; device?: string } {
  const { vm, device, at } = untrustedParams as Readonly<Record<string, unknown>>;
  const place = action === 'usb.assign' ? undefined : (device ?? at);
  return {
    ...(typeof vm === 'string' ? { vm: printable(vm, 64) } : {}),
    ...(typeof place === 'string' ? { device: printable(place, 96) } : {}),
  };
}

/** Parameters as the trail keeps them: a config's content by its length. */
function auditable(params: object): Record<string, unknown> {
  const { content, ...rest } = params as { content?: string };
  return content === undefined ? rest : { ...rest, contentBytes: Buffer.byteLength(content) };
}
