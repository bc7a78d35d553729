/** What words of qvm-usb's lines mean: VMs, devices by place and id, in which order devices are shown. */
import type { Daemon } from '../../api/client.ts';
import type { DeviceView } from '../../api/views.ts';
import { Fault } from '../../lib/fault.ts';
import { matchDevice, parseDevicePattern } from '../../model/assignment.ts';
import { deviceKey, parseDeviceRef } from '../../model/usb.ts';
import type { Context } from '../command.ts';

/** What a form or verb of qvm-usb works with. */
export type Means = Pick<Context, 'out' | 'daemon'>;

/** A device as a line names it: `BACKEND:PORT`, or `BACKEND:PORT:DEVID`. */
export interface DeviceWord {
  /** `backend:busid`. */
  readonly key: string;
  /** `vid:pid:serial:interfaces`; absent when any device at that place is meant. */
  readonly deviceId?: string;
}

const STATES_IN_VM: ReadonlySet<string> = new Set(['attached', 'attaching', 'detaching', 'gone']);

/** Tells whether the device is in its VM, or on its way in or out: not whether it only waits for it. */
export function isInVm(row: DeviceView): row is DeviceView & { readonly vm: string } {
  return row.vm !== undefined && STATES_IN_VM.has(row.state);
}

/** Parses a device of a line. @throws Fault `usb.device_invalid` */
export function parseDeviceWord(word: string): DeviceWord {
  const [backend = '', busid = '', ...rest] = word.split(':');
  const key = deviceKey(parseDeviceRef(`${backend}:${busid}`));
  if (rest.length === 0 || rest.join(':') === '*') return { key };
  const deviceId = parseDevicePattern(plainInterfaces(rest.join(':'))).deviceId;
  return deviceId === undefined ? { key } : { key, deviceId };
}

/** Tells whether the row is the device that the word names. */
export function isMeant({ device, deviceId: actual }: DeviceView, { key, deviceId }: DeviceWord): boolean {
  if (device !== key) return false;
  return (
    deviceId === undefined || matchDevice({ deviceId }, { ...parseDeviceRef(key), deviceId: actual }) !== undefined
  );
}

/** Gives the device that is there now, guarded ones too. @throws Fault `usb.device_not_found` */
export async function deviceAt(client: Daemon, word: DeviceWord): Promise<DeviceView> {
  const row = (await client.call('usb.list', { isAll: true })).find((other) => isMeant(other, word));
  if (row !== undefined) return row;
  const device = [word.key, ...(word.deviceId === undefined ? [] : [word.deviceId])].join(':');
  throw new Fault('usb.device_not_found', { device }, { hint: 'See: qvm-usb -l' });
}

/** Gives the name of the VM that the word names, or is the uuid of. @throws Fault `vm.not_found` */
export async function vmNamed(client: Daemon, word: string): Promise<string> {
  const vm = (await client.call('vm.list', {})).find(({ name, uuid }) => name === word || uuid === word.toLowerCase());
  if (vm === undefined) throw new Fault('vm.not_found', { vm: word }, { hint: 'See: usher vm list' });
  return vm.name;
}

/** Compares places: backends by name, then buses and ports by number. */
export function comparePlaces(one: string, other: string): number {
  const [a, b] = [placeOf(one), placeOf(other)];
  if (a.backend !== b.backend) return a.backend < b.backend ? -1 : 1;
  const at = a.ports.findIndex((port, i) => port !== b.ports[i]);
  return at === -1 ? a.ports.length - b.ports.length : (a.ports[at] ?? 0) - (b.ports[at] ?? -1);
}

function placeOf(key: string): { readonly backend: string; readonly ports: readonly number[] } {
  const colon = key.indexOf(':');
  return {
    backend: key.slice(0, colon),
    ports: key
      .slice(colon + 1)
      .split(/[.-]/)
      .map(Number),
  };
}

/** Qubes writes interfaces as `u080650u030101`; Usher's ids have `080650.030101`. */
function plainInterfaces(deviceId: string): string {
  const fields = deviceId.split(':');
  const last = fields[3];
  if (last !== undefined && /^(u[0-9a-f]{6})+$/i.test(last)) {
    fields[3] = last.slice(1).split(/u/i).sort().join('.');
  }
  return fields.join(':');
}
