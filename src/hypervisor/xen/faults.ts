/** Turns what xenstore refuses, and the loss of its connection, into the faults that users may see. */
import { Fault, isFault, messageOf, reasonOf } from '../../lib/fault.ts';
import { isXenstoreError } from '../../wire/xenstore/error.ts';

const HINT = 'See: usher doctor. Domains go on without xenstored, but nothing can be done to them.';

/** Gives the fault to throw in place of what was thrown while something was done to the VM; other faults stay. */
export function translated(error: unknown, vm: string): unknown {
  if (isXenstoreError(error)) return new Fault('hypervisor.failed', { what: messageOf(error) }, { cause: error });
  if (!isFault(error, 'wire.closed', 'wire.broken', 'xenstore.unreachable')) return error;
  return new Fault('hypervisor.lost', { vm, what: reasonOf(error) }, { cause: error, hint: HINT });
}

/** The same where no VM is spoken of. */
export function translatedForHost(error: unknown): unknown {
  if (isXenstoreError(error)) return new Fault('hypervisor.failed', { what: messageOf(error) }, { cause: error });
  if (!isFault(error, 'wire.closed', 'wire.broken', 'xenstore.unreachable')) return error;
  return new Fault('hypervisor.missing', { what: reasonOf(error) }, { cause: error, hint: HINT });
}
