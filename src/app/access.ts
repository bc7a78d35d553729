/**
 * The authoriser: from the peer that the kernel names and the request as it came, whether it may be performed. Asked in
 * one place, by the dispatcher, before the request is looked at any further. The rules themselves are in model/access.ts.
 */
import { type About, type Action, NEEDS, rightFor } from '../api/access.ts';
import { Accounts } from '../lib/accounts.ts';
import { Fault } from '../lib/fault.ts';
import { printable } from '../lib/text.ts';
import {
  type AccessEntry,
  EVERYTHING,
  type Grant,
  type Grantee,
  isAllowedSomewhere,
  type Subject,
  type VmNames,
  whatIsMissing,
} from '../model/access.ts';
import type { Actor } from '../model/audit.ts';
import { interfacesOfId } from '../model/device-class.ts';
import { deviceKey, parseDeviceRef } from '../model/usb.ts';

/** Members look at everything. */
export const READERS_GROUP = 'usher';
/** Members do everything. */
export const ADMIN_GROUP = 'usher-admin';

const GROUP_ENTRIES: readonly AccessEntry[] = [
  { to: { group: ADMIN_GROUP }, may: 'write' },
  { to: { group: READERS_GROUP }, may: 'read' },
];

/** Finds what a request names. Neither call throws or waits. */
export interface Subjects {
  /** Gives both names of a VM, by either. One that there is not has the name that was asked for. */
  vm(ref: string): VmNames;
  /** Gives a device by `backend:busid`, with the VM that it is in, on its way to or waits for; none when it is unknown. */
  device(key: string): { readonly deviceId: string; readonly vm?: VmNames } | undefined;
}

export interface AccessOptions {
  readonly entries: readonly AccessEntry[];
  readonly subjects: Subjects;
  /** Whether the groups of the host count: not for a daemon that somebody runs for himself. */
  readonly hasGroups: boolean;
  readonly accounts?: Accounts | undefined;
  /** Whose daemon it is. Default: the process's user. */
  readonly ownUid?: number | undefined;
}

/** Tells who may do what. Root and the daemon's own user may do everything. */
export class Access {
  readonly #entries: readonly AccessEntry[];
  readonly #subjects: Subjects;
  readonly #accounts: Accounts;
  readonly #ownUid: number;

  constructor({ entries, subjects, hasGroups, accounts = new Accounts(), ownUid }: AccessOptions) {
    this.#entries = [...(hasGroups ? GROUP_ENTRIES : []), ...entries];
    this.#subjects = subjects;
    this.#accounts = accounts;
    this.#ownUid = ownUid ?? process.getuid?.() ?? 0;
  }

  /** Refuses what the actor may not do. Of the parameters only the VM, the device and files are looked at. @throws Fault `denied` */
  demand(action: Action, untrustedParams: unknown, actor: Actor): void {
    const { about, files = [], grave = [] } = NEEDS[action];
    if (about === 'nothing') return;
    const grants = this.#grantsOf(actor);
    if (grants === EVERYTHING) return;
    const params = fieldsOf(untrustedParams);
    const right = rightFor(action);
    const file = files.find((name) => params[name] !== undefined);
    const overruling = grave.find((name) => params[name] !== undefined && params[name] !== false);
    const named = file ?? overruling;
    if (isList(about) && isAllowedSomewhere(grants, right)) return;
    const missing =
      named === undefined
        ? whatIsMissing(grants, right, this.#subjectOf(about, params))
        : whatIsMissing(grants, 'write', { is: 'host' });
    if (missing === undefined) return;
    const names = file === undefined ? '' : ', which names a file of the host,';
    const what = named === undefined ? missing : `with "${named}"${names} ${missing}`;
    const hint = `Root can allow it: by the group ${READERS_GROUP} (to look) or ${ADMIN_GROUP}, or by the setting "access".`;
    throw new Fault('denied', { user: actor.user, operation: action, what }, { hint });
  }

  /** Leaves out of a list what the actor may not look at; any other answer stays as it is. */
  visible<T>(action: Action, answer: T, actor: Actor): T {
    const { about } = NEEDS[action];
    if (!isList(about) || !Array.isArray(answer)) return answer;
    const grants = this.#grantsOf(actor);
    const right = rightFor(action);
    if (whatIsMissing(grants, right, { is: 'host' }) === undefined) return answer;
    return answer.filter(
      (row: object) => whatIsMissing(grants, right, this.#subjectOfRow(about, row)) === undefined,
    ) as T;
  }

  #grantsOf({ uid, groups = [] }: Actor): readonly Grant[] {
    if (uid < 0) return []; // It has hung up: nobody knows who it was.
    if (uid === 0 || uid === this.#ownUid) return EVERYTHING;
    const isTo = (to: Grantee) => {
      if ('user' in to) return this.#accounts.userId(to.user) === uid;
      const id = this.#accounts.groupId(to.group);
      return id !== undefined && groups.includes(id);
    };
    return this.#entries.filter(({ to }) => isTo(to));
  }

  #subjectOf(about: About, params: Readonly<Record<string, unknown>>): Subject {
    const [vm, device] = [textOf(params['vm']), textOf(params['device'])];
    if (about === 'vm' && vm !== undefined) return { is: 'part', vms: [this.#subjects.vm(vm)] };
    if (about === 'device' && device !== undefined) return this.#aboutDevice(device);
    if (about === 'device and vm' && device !== undefined && vm !== undefined) return this.#aboutDevice(device, vm);
    return { is: 'host' };
  }

  /** A device that is in a VM, or waits for one, is also that VM's: to take it elsewhere needs a right over both. */
  #aboutDevice(ref: string, target?: string): Subject {
    const key = keyOf(ref);
    const found = this.#subjects.device(key);
    const vms = [...(target === undefined ? [] : [this.#subjects.vm(target)]), ...(found?.vm ? [found.vm] : [])];
    const isSame = vms.length === 2 && vms[0]?.uuid !== undefined && vms[0].uuid === vms[1]?.uuid;
    const device = { key, interfaces: found === undefined ? [] : interfacesOfId(found.deviceId) };
    return { is: 'part', vms: isSame ? vms.slice(1) : vms, device };
  }

  #subjectOfRow(about: About, row: object): Subject {
    const { name, uuid, isStranger, vm, device } = row as Readonly<Record<string, unknown>>;
    // Whoever made a stranger chose its name: only its uuid says which it is.
    if (about === 'list of VMs') {
      return { is: 'part', vms: [{ name: isStranger === true ? undefined : textOf(name), uuid: textOf(uuid) }] };
    }
    const [key, place] = [textOf(device), textOf(vm)];
    const found = key === undefined ? undefined : this.#subjects.device(key);
    return {
      is: 'part',
      vms: place === undefined ? [] : [this.#subjects.vm(place)],
      device: key === undefined ? undefined : { key, interfaces: interfacesOfId(found?.deviceId ?? '') },
    };
  }
}

function isList(about: About): boolean {
  return about === 'list of VMs' || about === 'list of devices';
}

function fieldsOf(untrusted: unknown): Readonly<Record<string, unknown>> {
  return typeof untrusted === 'object' && untrusted !== null ? (untrusted as Record<string, unknown>) : {};
}

/** Names that are longer than any there can be are names of nothing. */
function textOf(untrusted: unknown): string | undefined {
  return typeof untrusted === 'string' ? printable(untrusted, 96) : undefined;
}

function keyOf(ref: string): string {
  try {
    return deviceKey(parseDeviceRef(ref));
  } catch {
    return ref;
  }
}
