/**
 * What a rule has to name before a guard steps aside for it, and which device ids a policy takes for one device. The
 * guards themselves are elsewhere.
 */
import { matchesId } from './assignment.ts';
import type { Policy, Rule } from './policy.ts';
import { isInSet, setCovers, setsOf } from './policy-class.ts';
import { Subject } from './policy-match.ts';
import { namesProduct } from './policy-patterns.ts';
import type { UsbDevice } from './usb.ts';

/**
 * What a guard keeps back unless a rule is explicit about it: a keyboard; a pointing device; an input device that does
 * not say which of them it is; a network adapter that the host uses; a disk with a mounted file system; the disk that the
 * host booted from.
 */
export const SENSITIVE = ['keyboard', 'pointing', 'input', 'network', 'mounted', 'boot disk'] as const;
export type Sensitive = (typeof SENSITIVE)[number];

/**
 * The classes that are explicit: all that a rule's class matches has to lie within. None for disks: "storage" means
 * sticks, not the one that is just in use.
 */
const EXPLICIT_CLASSES: Readonly<Record<Sensitive, readonly string[]>> = {
  keyboard: ['keyboard'],
  pointing: ['mouse'],
  input: ['hid'],
  network: ['network'],
  mounted: [],
  'boot disk': [],
};

/**
 * Tells whether a rule that matches the device is explicit about it being `what`: it names vendor and product in an id
 * (for the boot disk the serial number as well), or a class that is nothing but that. A port, a hub, a name is not
 * explicit, nor is a rule that denies.
 */
export function isExplicitFor(rule: Rule, what: Sensitive, device: UsbDevice): boolean {
  if (rule.action.do === 'deny') return false;
  return namesDevice(rule, what, device) || namesClass(rule, what, device);
}

/**
 * Tells whether the policy takes two device ids for one device that changes its id: a rule lists both in its `switches`.
 * With the same vendor and product only the interfaces may have changed. Legal to ask of what was and what is plugged in
 * one port, one after the other; of one id it says no, as nothing has changed.
 */
export function isSameSwitcher(policy: Policy, idBefore: string, idAfter: string): boolean {
  if (idBefore === idAfter) return false;
  const [before, after] = [idBefore, idAfter].map((id) => id.split(':'));
  const isSameProduct = before?.[0] === after?.[0] && before?.[1] === after?.[1];
  if (isSameProduct && before?.[2] !== after?.[2]) return false;
  const lists = (patterns: readonly string[], id: string) => patterns.some((pattern) => matchesId(pattern, id));
  return policy.rules.some(({ match: { switches = [] } }) => lists(switches, idBefore) && lists(switches, idAfter));
}

function namesDevice({ match }: Rule, what: Sensitive, device: UsbDevice): boolean {
  return (match.id ?? match.switches ?? []).some((pattern) => {
    const [, , serial = '*'] = pattern.split(':');
    const isNamed = namesProduct(pattern) && (what !== 'boot disk' || (serial !== '' && !serial.includes('*')));
    return isNamed && matchesId(pattern, device.deviceId);
  });
}

function namesClass({ match }: Rule, what: Sensitive, device: UsbDevice): boolean {
  const { any = [], all = [], only = [] } = match.class ?? {};
  const explicit = EXPLICIT_CLASSES[what].flatMap(setsOf);
  const { interfaces } = new Subject(device);
  return [...any, ...all, ...only].some((item) => {
    const sets = setsOf(item);
    const isExplicit = sets.every((set) => explicit.some((wide) => setCovers(wide, set)));
    return isExplicit && interfaces.some((number) => sets.some((set) => isInSet(set, number)));
  });
}
