/**
 * The forms of qvm-usb as they were with PVUSB: `-l`, `-a VM BACKEND:DEVICE`, `-d VM:CONTROLLER-PORT`. Two spellings of
 * `-d` were in use, one naming the VM's port and one the backend's; both are understood.
 */
import type { Daemon } from '../../api/client.ts';
import type { DeviceView } from '../../api/views.ts';
import { Fault } from '../../lib/fault.ts';
import { parseDeviceRef } from '../../model/usb.ts';
import type { LineOptions, ParsedLine } from '../option-line.ts';
import { comparePlaces, isInVm, type Means, vmNamed } from './places.ts';

export const OLD_OPTIONS = {
  list: { type: 'boolean', short: 'l', doc: 'list the devices of all backends (the default)' },
  attach: { type: 'boolean', short: 'a', doc: 'attach the device to the VM, at its first free port' },
  detach: { type: 'boolean', short: 'd', doc: 'detach the device, named by either side; of a VM alone: all of its' },
  'no-auto-detach': { type: 'boolean', doc: 'with -a: refuse a device that is in another VM, instead of moving it' },
  'force-root': { type: 'boolean', doc: 'taken and not needed: the daemon decides who may' },
  'list-device-classes': { type: 'boolean', doc: 'list the classes of devices: usb' },
  help: { type: 'boolean', short: 'h', doc: 'print this' },
  version: { type: 'boolean', short: 'V', doc: 'print the version' },
} as const satisfies LineOptions;

/** Gives the lines of `-l`: place, tab, `vid:pid` and udev's name, and in which VM it is; sorted by place. */
export function oldListing(rows: readonly DeviceView[]): string[] {
  const shown = rows.filter((row) => row.state !== 'gone' || row.slot !== undefined);
  return shown.toSorted((a, b) => comparePlaces(a.device, b.device)).map(oldLine);
}

/** Writes one line of `-l`. A device that was pulled out while it was attached is shown for as long as it has its port. */
export function oldLine(row: DeviceView): string {
  const { device, deviceId, udevName, slot } = row;
  const numbers = deviceId.split(':').slice(0, 2).join(':');
  const isIn = isInVm(row) && row.state !== 'attaching';
  const place = isIn ? ` (attached to ${row.vm}${slot === undefined ? '' : `:${slot}`})` : '';
  return `${device}\t${[numbers, udevName].join(' ').trim()}${place}`;
}

/** Performs one of the old forms; gives the exit status. @throws Fault */
export async function runOldForm(means: Means, line: ParsedLine): Promise<number> {
  const chosen = ['list', 'attach', 'detach'].filter((name) => line.has(name));
  if (chosen.length > 1) {
    means.out.tell('qvm-usb: only one of -l, -a and -d can be done at a time');
    return 1;
  }
  if (line.has('no-auto-detach') && chosen[0] !== 'attach') refuse('--no-auto-detach goes with -a');
  switch (chosen[0]) {
    case 'attach':
      return await attach(means, line);
    case 'detach':
      return await detach(means, line);
    default:
      if (line.words.length > 0) refuse(`"${line.words[0]}" is too much, or is no command: see qvm-usb --help`);
      return await list(means);
  }
}

async function list({ out, daemon }: Means): Promise<number> {
  const rows = await (await daemon()).call('usb.list', {});
  for (const line of oldListing(rows)) out.print(line);
  return 0;
}

async function attach({ daemon }: Means, line: ParsedLine): Promise<number> {
  const [vm, device, ...more] = line.words;
  if (vm === undefined || device === undefined || more.length > 0) {
    refuse('-a takes a VM and a device: qvm-usb -a work dom0:3-1.4');
  }
  parseDeviceRef(device);
  await (await daemon()).call('usb.attach', { vm, device, canMove: !line.has('no-auto-detach') });
  return 0;
}

async function detach(means: Means, line: ParsedLine): Promise<number> {
  const [word, ...more] = line.words;
  if (word === undefined || more.length > 0) {
    refuse('-d takes a device, by either side: qvm-usb -d work:0-1, qvm-usb -d dom0:3-1.4');
  }
  const client = await means.daemon();
  if (!word.includes(':')) return await detachAll(means, client, await vmNamed(client, word));

  const { backend, busid } = parseDeviceRef(word);
  const key = `${backend}:${busid}`;
  const rows = await client.call('usb.list', {});
  const meant = rows.filter(isInVm).filter((row) => row.device === key || `${row.vm}:${row.slot}` === word);
  const [row, another] = meant;
  if (row !== undefined && another === undefined) {
    await client.call('usb.detach', { device: row.device });
    return 0;
  }
  if (row !== undefined) {
    means.out.tell(`qvm-usb: "${word}" may be either of these; name it by its other side:`);
    for (const one of oldListing(meant)) means.out.tell(one);
    return 2;
  }
  const isThere = rows.some(({ device }) => device === key) || (await isPortOf(client, word));
  if (!isThere) throw new Fault('usb.device_not_found', { device: key }, { hint: 'See: qvm-usb -l' });
  means.out.tell(`qvm-usb: warning: nothing is attached by the name of ${word}`);
  return 0;
}

/** Tells whether the word names a port of a VM, `work:0-3`, though nothing is in it. */
async function isPortOf(client: Daemon, word: string): Promise<boolean> {
  const [name = '', slot = ''] = word.split(':');
  return /^\d+-\d+$/.test(slot) && (await client.call('vm.list', {})).some((vm) => vm.name === name);
}

/** Detaches everything that is in the VM; one that cannot be detached keeps no other in. */
export async function detachAll({ out }: Means, client: Daemon, vm: string): Promise<number> {
  const rows = (await client.call('usb.list', {})).filter((row) => isInVm(row) && row.vm === vm);
  let status = 0;
  for (const { device } of rows.toSorted((a, b) => comparePlaces(a.device, b.device))) {
    await client.call('usb.detach', { device }).catch((error: unknown) => {
      out.tell(`ERROR: ${(error as Error).message}`);
      status = 1;
    });
  }
  return status;
}

function refuse(what: string): never {
  throw new Fault('usage', { what });
}
