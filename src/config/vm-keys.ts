/**
 * The table of keys of a VM's config file, in the order in which they are printed. The parser, the printer, the checks, the
 * help and the reference page come from it; its parts are by subject in vm-keys.*.ts.
 */
import type { VmKey } from './vm-key.ts';
import { DEVICE_KEYS } from './vm-keys.devices.ts';
import { GUEST_KEYS } from './vm-keys.guest.ts';
import { LIFE_KEYS } from './vm-keys.life.ts';
import { MACHINE_KEYS } from './vm-keys.machine.ts';
import { UNHEEDED_KEYS } from './vm-keys.unheeded.ts';

/** Every key. */
export const VM_KEYS: readonly VmKey[] = [
  ...GUEST_KEYS,
  ...DEVICE_KEYS,
  ...MACHINE_KEYS,
  ...LIFE_KEYS,
  ...UNHEEDED_KEYS,
];

const BY_NAME: ReadonlyMap<string, VmKey> = new Map(
  VM_KEYS.flatMap((row) => [row.key, ...row.aliases].map((name) => [name, row] as const)),
);

/** Every name that a key has, aliases too. */
export const KEY_NAMES: readonly string[] = [...BY_NAME.keys()];

/** Finds a key by any of its names. */
export function keyNamed(name: string): VmKey | undefined {
  return BY_NAME.get(name);
}
