/**
 * Who may do what: rights, to whom they are given, and whether they cover a request. Pure; denies unless something
 * allows. What each operation needs is in api/access.ts; who asks and what it is about is found out in app/access.ts.
 */
import { listWords } from '../lib/text.ts';
import { isOnlyOf } from './device-class.ts';

/** Each includes those before it: to look; to attach and detach devices; to do what changes what runs; what is stored. */
export const RIGHTS = ['read', 'attach', 'control', 'write'] as const;
export type Right = (typeof RIGHTS)[number];

/** Whom a right is given to, by name or number. */
export type Grantee = { readonly user: string | number } | { readonly group: string | number };

/** A right, and how far it goes: without `vms` to every VM, without `deviceClasses` to every device. */
export interface Grant {
  readonly may: Right;
  /** Names or uuids. */
  readonly vms?: readonly string[] | undefined;
  /** As in device-class.ts: only devices that are of these and of nothing else. */
  readonly deviceClasses?: readonly string[] | undefined;
}

/** An entry of the setting `access`. */
export interface AccessEntry extends Grant {
  readonly to: Grantee;
}

/** A VM as a request names it and as the inventory does. */
export interface VmNames {
  readonly name?: string | undefined;
  readonly uuid?: string | undefined;
}

/** What a request is about: the host as a whole, or VMs and a device of it. */
export type Subject =
  | { readonly is: 'host' }
  | {
      readonly is: 'part';
      readonly vms: readonly VmNames[];
      /** The device, and the interfaces that it claims; none when it is not plugged. */
      readonly device?: { readonly key: string; readonly interfaces: readonly string[] } | undefined;
    };

/** Who has every right on the whole host. */
export const EVERYTHING: readonly Grant[] = [{ may: 'write' }];

/** Says what is missing for the request, as half a sentence; `undefined` when the grants cover it. */
export function whatIsMissing(grants: readonly Grant[], right: Right, subject: Subject): string | undefined {
  const able = grants.filter((grant) => includes(grant.may, right) && coversDevice(grant, subject));
  if (able.some(({ vms }) => vms === undefined)) return undefined;
  if (subject.is === 'part') {
    // A device that is in no VM may be looked at by whoever may look at something; to take it needs a VM to take it to.
    const isLookAtFree = subject.vms.length === 0 && right === 'read' && able.length > 0;
    const areCovered = subject.vms.length > 0 && subject.vms.every((vm) => able.some((grant) => coversVm(grant, vm)));
    if (isLookAtFree || areCovered) return undefined;
  }
  return `it needs "${right}" ${sayPlace(subject)}, and what they have is ${sayGrants(grants)}`;
}

/** Tells whether the grants reach the right anywhere at all. */
export function isAllowedSomewhere(grants: readonly Grant[], right: Right): boolean {
  return grants.some(({ may }) => includes(may, right));
}

/** Tells whether a right brings the other one. */
function includes(may: Right, right: Right): boolean {
  return RIGHTS.indexOf(may) >= RIGHTS.indexOf(right);
}

function coversDevice({ deviceClasses }: Grant, subject: Subject): boolean {
  if (deviceClasses === undefined) return true;
  return subject.is === 'part' && subject.device !== undefined && isOnlyOf(subject.device.interfaces, deviceClasses);
}

function coversVm({ vms = [] }: Grant, { name, uuid }: VmNames): boolean {
  return vms.some((granted) => granted === name || granted.toLowerCase() === uuid);
}

function sayPlace(subject: Subject): string {
  if (subject.is === 'host') return 'on the whole host';
  const vms = subject.vms.map(({ name, uuid }) => `VM ${name ?? uuid}`);
  const device = subject.device === undefined ? [] : [`device ${subject.device.key}`];
  return `over ${listWords([...device, ...vms], 'and')}`;
}

function sayGrants(grants: readonly Grant[]): string {
  const says = grants.map(({ may, vms, deviceClasses }) => {
    const devices = deviceClasses === undefined ? [] : [`${listWords(deviceClasses)} devices`];
    const limits = [...devices, ...(vms === undefined ? [] : [`VM ${listWords(vms)}`])];
    return limits.length === 0 ? `"${may}"` : `"${may}" over ${limits.join(' in ')}`;
  });
  return says.length === 0 ? 'nothing' : listWords([...new Set(says)], 'and');
}
