/** Translates what QEMU says about devices into faults that tell a person what to do. Pure. */
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import { printable } from '../../lib/text.ts';
import { deviceKey, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import { isQmpError } from '../../wire/qmp/error.ts';

interface Subject {
  readonly vm: string;
  readonly slot: UsbSlot;
  readonly device: Pick<UsbDevice, 'backend' | 'busid'>;
}

interface Translation {
  /** Matches QEMU's sentence (7.2 to 10; the words have not changed). */
  readonly says: RegExp;
  /** `$1` is the expression's first group. */
  readonly what: string;
  readonly hint?: string;
}

const ATTACH_TRANSLATIONS: readonly Translation[] = [
  {
    says: /failed to open host usb device (\S+)/,
    what: 'QEMU could not take $1',
    hint: "Another program may be using it, or the controller is not made for its speed; QEMU's own log says more.",
  },
  {
    says: /failed to open (\S*\/\d{3}\/\d{3}): No such file or directory/,
    what: 'its node $1 is not there',
    hint: 'The kernel makes the nodes of USB devices in /dev (devtmpfs); a container has to be given them.',
  },
  {
    says: /failed to open (\S*\/\d{3}\/\d{3}): (?:Permission denied|Operation not permitted)/,
    what: 'QEMU may not open $1',
    hint: 'Let the user that Usher runs as write to it (a udev rule), or run Usher as root.',
  },
  {
    says: /Failed to get (shared )?"\w+" lock/,
    what: 'its file is in use by another VM or program',
    hint: 'A file can be in several VMs only if all have it read-only.',
  },
  {
    says: /No such file or directory/,
    what: 'its file is not there',
    hint: 'Unplug it and plug it with another file.',
  },
  {
    says: /Permission denied|Operation not permitted/,
    what: 'QEMU may not open it',
    hint: 'Let the user that Usher runs as open its file.',
  },
  {
    says: /speed mismatch/i,
    what: 'the controller is not made for its speed',
    hint: 'Give the VM a controller of version 3: usbctrl = ["version=3,ports=8"].',
  },
  { says: /migrat/i, what: 'the VM is being saved' },
];

/** Makes the fault of an attach that failed; what is a user's fault already stays. */
export function attachFault(error: unknown, { vm, slot, device }: Subject): Fault {
  const key = deviceKey(device);
  if (!isQmpError(error)) {
    if (isFault(error)) return error;
    throw error;
  }
  const { desc } = error;
  if (/Duplicate device ID/i.test(desc)) return new Fault('usb.attached', { device: key, vm }, { cause: error });
  if (/usb port .* not found \(in use\?\)/.test(desc)) {
    const details = { port: formatSlot(slot), vm, other: 'another device' };
    return new Fault('usb.port_busy', details, { cause: error });
  }
  const known = ATTACH_TRANSLATIONS.find(({ says }) => says.test(desc));
  const what = known === undefined ? `QEMU says: ${printable(desc, 300)}` : fill(known, desc);
  return new Fault('usb.attach_failed', { device: key, vm, what }, { cause: error, hint: known?.hint });
}

function fill({ says, what }: Translation, desc: string): string {
  return what.replace('$1', () => printable(says.exec(desc)?.[1] ?? '', 200));
}

/** Makes the fault of a detach that failed; what is a user's fault already stays. */
export function detachFault(error: unknown, { vm, device }: Omit<Subject, 'slot'>): Fault {
  const isOurs = isFault(error);
  if (isOurs && error.code !== 'timeout') return error;
  if (!isOurs && !isQmpError(error)) throw error;
  const what = isQmpError(error) ? `QEMU says: ${printable(error.desc, 300)}` : reasonOf(error);
  return new Fault('usb.detach_failed', { device: deviceKey(device), vm, what }, { cause: error });
}
