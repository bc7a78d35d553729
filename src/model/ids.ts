/** Names of VMs: the stable uuid and the human name. Parsers turn untrusted text into clean values. */
import { Fault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';

/** A VM's stable key: lower case, with dashes. */
export type VmUuid = string & { readonly __brand: 'VmUuid' };

/** Backends that are not VMs, and so are refused as VM names; `host` is accepted as input for `dom0`. */
export const HOST_BACKEND = 'dom0';
export const VIRTUAL_BACKEND = 'virtual';
const RESERVED_NAMES: ReadonlySet<string> = new Set([HOST_BACKEND, 'host', VIRTUAL_BACKEND, '*']);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const NAME = /^[A-Za-z][A-Za-z0-9._-]{0,62}$/;

/** Makes a new random uuid. */
export function newUuid(): VmUuid {
  return crypto.randomUUID() as VmUuid;
}

/** Tells whether the text has the form of a uuid, in any case. */
export function isUuid(text: string): boolean {
  return UUID.test(text.toLowerCase());
}

/** Parses a uuid. @throws Fault `vm.uuid_invalid` */
export function parseUuid(untrustedUuid: string): VmUuid {
  const uuid = untrustedUuid.toLowerCase();
  if (!UUID.test(uuid)) throw new Fault('vm.uuid_invalid', { uuid: printable(untrustedUuid, 60) });
  return uuid as VmUuid;
}

/** Parses a VM name: a letter, then letters, digits, `.`, `_`, `-`, 63 at most. @throws Fault `vm.name_invalid` */
export function parseVmName(untrustedName: string): string {
  const refuse = (what: string) => new Fault('vm.name_invalid', { name: printable(untrustedName, 70), what });
  if (RESERVED_NAMES.has(untrustedName.toLowerCase())) throw refuse('it is reserved for the host and its devices');
  if (isUuid(untrustedName)) throw refuse('it has the form of a uuid');
  if (!NAME.test(untrustedName)) {
    throw refuse('a name is a letter followed by up to 62 letters, digits, dots, underscores or dashes');
  }
  return untrustedName;
}
