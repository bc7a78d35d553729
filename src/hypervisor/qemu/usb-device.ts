/**
 * USB devices of a QEMU in the terms of QMP: what makes one, and how one is removed. For every driver whose device model
 * is QEMU; ids and buses are theirs.
 */
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import { failPoint } from '../../lib/fail-point.ts';
import type { SoftwareDevice, SoftwareKind, UsbSlot } from '../../model/usb.ts';
import type { QmpArgument } from '../../wire/qmp/commands.ts';
import { isQmpError } from '../../wire/qmp/error.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import { type BackingKind, backingKindOf } from './backing.ts';
import { backingName } from './ids.ts';

const MODELS: Readonly<Record<SoftwareKind, string>> = {
  storage: 'usb-storage',
  keyboard: 'usb-kbd',
  mouse: 'usb-mouse',
  tablet: 'usb-tablet',
  serial: 'usb-serial',
};
/** What stands behind a device, by its type in QOM. */
export const BACKING_OF_TYPE: Readonly<Record<string, BackingKind>> = {
  'child<usb-storage>': 'block',
  'child<usb-serial>': 'chardev',
};
/** A string descriptor has 255 bytes, two for its head and two for each character (USB 2.0, section 9.6.7). */
const MAX_SERIAL_BYTES = 126;
const DETACH_TIMEOUT_MS = 10_000;
const DETACH_POLL_MS = 50;

/**
 * Gives what `device_add` needs besides place and id, typed as QEMU 9.2 wants it. A device of the host is named by its
 * node: QEMU opens it at once or says why not, and never takes by itself what is plugged there later.
 */
export function deviceProperties(
  slot: UsbSlot,
  software: SoftwareDevice | undefined,
  node: string | undefined,
): { readonly driver: string; readonly [name: string]: QmpArgument } {
  if (software === undefined) return { driver: 'usb-host', hostdevice: node };
  const kind = backingKindOf(software);
  return {
    driver: MODELS[software.kind],
    serial: software.serial === undefined ? undefined : fitSerial(software.serial),
    drive: kind === 'block' ? backingName(slot) : undefined,
    removable: kind === 'block' ? true : undefined,
    chardev: kind === 'chardev' ? backingName(slot) : undefined,
    // Without it the guest sees a serial adapter only while somebody listens.
    'always-plugged': kind === 'chardev' ? true : undefined,
  };
}

/**
 * Removes a device and returns when it is gone. The wait begins before the request, for DEVICE_DELETED may come before
 * the reply; a device that is gone already, or on its way out, is fine. @throws Fault `timeout`, QmpError
 */
export async function removeDevice(
  session: QmpSession,
  id: string,
  { vm, clock }: { readonly vm: string; readonly clock: Clock },
): Promise<void> {
  const stopWaiting = new AbortController();
  const deleted = session.waitEvent((event) => event.name === 'DEVICE_DELETED' && event.data.device === id, {
    timeoutMs: DETACH_TIMEOUT_MS,
    signal: stopWaiting.signal,
  });
  try {
    await session.execute('device_del', { id });
    failPoint('detach.requested');
    await deleted;
  } catch (error) {
    if (isQmpError(error, 'DeviceNotFound')) return;
    if (!isQmpError(error) || !/already in the process of unplug/.test(error.desc)) throw error;
    // Somebody else's request, perhaps of a daemon that died: its event may have come before we listened.
    const what = `The removal of a device from VM ${vm}`;
    await pollUntil({ what, timeoutMs: DETACH_TIMEOUT_MS, everyMs: DETACH_POLL_MS, clock }, async () => {
      const children = await session.execute('qom-list', { path: '/machine/peripheral' });
      return children.some(({ name }) => name === id) ? undefined : true;
    });
  } finally {
    stopWaiting.abort();
  }
}

/** Cuts a serial to what a descriptor holds: QEMU sends each of its UTF-8 bytes as a character, and lets more overflow. */
function fitSerial(serial: string): string {
  let fitting = '';
  for (const character of serial) {
    if (Buffer.byteLength(fitting + character) > MAX_SERIAL_BYTES) break;
    fitting += character;
  }
  return fitting;
}
