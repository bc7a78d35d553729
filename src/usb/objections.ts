/**
 * Whether what speaks against taking a device counts for who wants it. A host's last keyboard and last pointing device
 * are never taken, and come back when the others have gone; everything else gives way to somebody who is explicit about it. Pure.
 */
import { type DevicePattern, isExactPlace } from '../model/assignment.ts';
import type { Objection, ObjectionKind } from '../model/host-use.ts';
import type { Rule } from '../model/policy.ts';
import { isExplicitFor, type Sensitive } from '../model/policy-explicit.ts';
import { namesProduct } from '../model/policy-patterns.ts';
import type { UsbDevice } from '../model/usb.ts';

/** Who wants a device. */
export type Wanted =
  | { readonly by: 'hand'; readonly isForced: boolean }
  | { readonly by: 'assignment'; readonly pattern: DevicePattern }
  | { readonly by: 'rule'; readonly rule: Rule };

/** What a rule has to be explicit about. */
const SENSITIVE_OF: { readonly [K in ObjectionKind]?: Sensitive } = {
  keyboard: 'keyboard',
  pointer: 'pointing',
  input: 'input',
  network: 'network',
  mounted: 'mounted',
  swap: 'mounted',
  held: 'mounted',
  'boot disk': 'boot disk',
};

/** Gives the gravest objection that counts; `undefined` when none does. */
export function objectionTo(device: UsbDevice, wanted: Wanted): Objection | undefined {
  return device.objections?.find(({ kind }) => !isWaived(kind, device, wanted));
}

/**
 * Gives what calls a device back from the VM that it is in: the host has no other keyboard, or no other pointing device.
 * Who has forced it there knows better; `undefined` then, and when nothing does.
 */
export function objectionToStay(device: UsbDevice, wanted: Wanted): Objection | undefined {
  if (wanted.by === 'hand' && wanted.isForced) return undefined;
  return device.objections?.find(({ kind }) => kind === 'missed keyboard' || kind === 'missed pointer');
}

function isWaived(kind: ObjectionKind, device: UsbDevice, wanted: Wanted): boolean {
  const what = SENSITIVE_OF[kind];
  if (what === undefined) return false;
  switch (wanted.by) {
    case 'hand':
      return wanted.isForced;
    case 'assignment':
      // An assignment is made once and for all: that a disk is mounted just now was not known then.
      return (what === 'keyboard' || what === 'pointing' || what === 'input') && isExact(wanted.pattern);
    case 'rule':
      return isExplicitFor(wanted.rule, what, device);
  }
}

/** Whether a pattern means one port, one location, or one product. */
function isExact(pattern: DevicePattern): boolean {
  return isExactPlace(pattern) || (pattern.deviceId !== undefined && namesProduct(pattern.deviceId));
}
