/**
 * How QMP fails: QEMU's own refusals (`QmpError`, which the driver turns into a Fault, for only it knows the VM) and the
 * faults of the connection.
 */
import { errnoOf, Fault, isFault, messageOf } from '../../lib/fault.ts';

/** `ErrorClass` of QEMU's schema; nearly everything is `GenericError`, told apart by its text only. */
export type QmpErrorClass = 'CommandNotFound' | 'DeviceNotActive' | 'DeviceNotFound' | 'GenericError' | 'KVMMissingCap';

/** Says that QEMU understood a command and refused it; the session goes on. */
export class QmpError extends Error {
  readonly command: string;
  readonly class: QmpErrorClass | (string & {});
  /** QEMU's own sentence. It may quote our arguments, so it is as trustworthy as they are. */
  readonly desc: string;

  constructor(command: string, errorClass: string, desc: string) {
    super(`QEMU refused ${command}: ${desc}`);
    this.name = 'QmpError';
    this.command = command;
    this.class = errorClass;
    this.desc = desc;
  }
}

/** Tells whether the value is an error answered by QEMU, of one of the classes if any are given. */
export function isQmpError(value: unknown, ...classes: QmpErrorClass[]): value is QmpError {
  return value instanceof QmpError && (classes.length === 0 || (classes as string[]).includes(value.class));
}

const ERRNO_WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket',
  ECONNREFUSED: 'nobody listens there any more',
  EAGAIN: 'other clients already wait for it',
  EACCES: 'its permissions forbid it',
  ECONNRESET: 'it hung up',
  EPIPE: 'it hung up',
};

/** Makes `wire.closed` of a stream's error, which becomes its cause. */
export function closedFault(peer: string, error: Error): Fault {
  const what = ERRNO_WORDS[errnoOf(error) ?? ''] ?? messageOf(error);
  return new Fault('wire.closed', { peer, what }, { cause: error });
}

/** Makes `wire.broken`: the peer is no QMP server, or a broken one. */
export function brokenFault(peer: string, what: string, cause?: Error): Fault {
  return new Fault('wire.broken', { peer, protocol: 'QMP', what }, { cause });
}

/** Tells whether the fault means that no QEMU can answer there: no socket, or one that nobody listens on. */
export function isPeerGone(fault: Fault): boolean {
  return isFault(fault, 'wire.closed') && ['ENOENT', 'ECONNREFUSED'].includes(errnoOf(fault.cause) ?? '');
}
