/** The error that QEMU itself answers. It stays in the wire and the driver: the driver turns it into a Fault. */

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
