/** The verbs of qvm-usb as Qubes has them now: list, attach, detach, assign, unassign, info. Data and what they do. */
import type { Daemon } from '../../api/client.ts';
import type { AssignmentView } from '../../api/views.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { type AssignmentMode, locationKey } from '../../model/assignment.ts';
import { parseDeviceRef } from '../../model/usb.ts';
import type { LineOptions, ParsedLine } from '../option-line.ts';
import { infoText, listTable, type Selection } from './listing.ts';
import { detachAll } from './old-forms.ts';
import { type DeviceWord, deviceAt, isInVm, isMeant, type Means, parseDeviceWord, vmNamed } from './places.ts';

export interface Verb {
  readonly name: string;
  readonly aliases: readonly string[];
  /** What follows the verb, for help. */
  readonly takes: string;
  readonly says: string;
  readonly options: LineOptions;
  /** What its words are, for completion; the last one may come again when `isRepeated`. */
  readonly words: readonly ('vm' | 'device')[];
  readonly isRepeated?: boolean;
  run(means: Means, line: ParsedLine): Promise<number | undefined>;
}

const NO_OPTIONS = { type: 'string', multiple: true, doc: 'refused: USB devices take no options' } as const;
const ATTACH_OPTIONS = {
  option: { ...NO_OPTIONS, short: 'o', value: 'KEY=VALUE' },
  ro: { type: 'boolean', doc: 'refused: a USB device cannot be made read-only' },
} as const satisfies LineOptions;
const FORM_OPTIONS = {
  port: { type: 'boolean', doc: 'mean whatever is plugged there, not only that device' },
  device: { type: 'boolean', doc: 'mean that device wherever it is plugged, not only there' },
  location: { type: 'boolean', doc: 'mean whatever is plugged there, also when the buses are numbered anew' },
} as const satisfies LineOptions;

export const VERBS: readonly Verb[] = [
  {
    name: 'list',
    aliases: ['ls', 'l'],
    takes: '[VM...]',
    says: 'List devices, of these VMs or of all: those that they have, and those of others that they use.',
    options: {
      assignments: { type: 'boolean', short: 's', doc: 'show assignments, too, of what is not plugged as well' },
      all: { type: 'boolean', doc: 'all VMs: the default when none is named' },
      exclude: { type: 'string', multiple: true, value: 'VM', doc: 'with --all: leave this VM out; may come again' },
      'with-sbdf': { type: 'boolean', doc: 'taken and without effect: only PCI devices have such an address' },
    },
    words: ['vm'],
    isRepeated: true,
    async run(means, line) {
      const selection = selectionOf(line);
      const client = await means.daemon();
      const [devices, vms] = [await client.call('usb.list', {}), await client.call('vm.list', {})];
      const assignments = line.has('assignments') ? await client.call('usb.assignments', {}) : [];
      const text = listTable({ devices, vms, assignments }, selection, means.out);
      if (text !== '') means.out.print(text);
      return undefined;
    },
  },
  {
    name: 'attach',
    aliases: ['at', 'a'],
    takes: 'VM BACKEND:PORT[:DEVID]',
    says: 'Attach a device to a VM; one that is in another VM is moved.',
    options: {
      ...ATTACH_OPTIONS,
      persistent: { type: 'boolean', short: 'p', doc: 'assign it, too, so that it comes back: see assign' },
    },
    words: ['vm', 'device'],
    async run(means, line) {
      const [name, word] = vmAndDevice(line);
      refuseOptions(line);
      const client = await means.daemon();
      const vm = await vmNamed(client, name);
      const { device, deviceId } = await deviceAt(client, word);
      await client.call('usb.attach', { vm, device });
      if (!line.has('persistent')) return undefined;
      await client.call('usb.assign', { vm, device: `${device}:${deviceId}`, mode: 'auto' }).catch(ignoreExisting);
      return undefined;
    },
  },
  {
    name: 'detach',
    aliases: ['dt', 'd'],
    takes: 'VM [BACKEND:PORT[:DEVID]]',
    says: 'Detach a device from a VM; without a device: all that are in it.',
    options: {},
    words: ['vm', 'device'],
    async run(means, line) {
      const [name, device] = takeWords(line, 1, 2);
      const client = await means.daemon();
      const vm = await vmNamed(client, name);
      if (device === undefined) return await detachAll(means, client, vm);
      const word = parseDeviceWord(device);
      const row = (await client.call('usb.list', {})).find((other) => isMeant(other, word));
      if (row === undefined || !isInVm(row) || row.vm !== vm) {
        throw new Fault('usb.detach_failed', { device: word.key, vm, what: 'it is not attached there' });
      }
      await client.call('usb.detach', { device: row.device });
      return undefined;
    },
  },
  {
    name: 'assign',
    aliases: ['s'],
    takes: 'VM BACKEND:PORT[:DEVID]',
    says: 'Have a device attached whenever it is plugged and the VM runs: that device in that port, unless told otherwise.',
    options: {
      ...ATTACH_OPTIONS,
      required: { type: 'boolean', short: 'r', doc: 'the VM does not start without it' },
      ask: { type: 'boolean', doc: 'ask a person each time' },
      ...FORM_OPTIONS,
    },
    words: ['vm', 'device'],
    async run(means, line) {
      const [name, word] = vmAndDevice(line);
      refuseOptions(line);
      const mode = modeOf(line);
      const form = formOf(line);
      const client = await means.daemon();
      const vm = await vmNamed(client, name);
      const isAsked = form === 'location' || (form !== 'port' && word.deviceId === undefined);
      const { location, deviceId = word.deviceId } = isAsked ? await deviceAt(client, word) : {};
      const device = PATTERNS[form ?? 'both']({ key: word.key, deviceId, location });
      if (device === undefined) throw new Fault('usage', { what: `${word.key} has no location: use --port` });
      await client.call('usb.assign', { vm, device, mode });
      return undefined;
    },
  },
  {
    name: 'unassign',
    aliases: ['u'],
    takes: 'VM [BACKEND:PORT[:DEVID]]',
    says: 'Take an assignment back; without a device: all of the VM.',
    options: FORM_OPTIONS,
    words: ['vm', 'device'],
    async run(means, line) {
      const [name, device] = takeWords(line, 1, 2);
      const form = formOf(line);
      if (device === undefined && form !== undefined)
        throw new Fault('usage', { what: `--${form} goes with a device` });
      const client = await means.daemon();
      const vm = await vmNamed(client, name);
      const ofVm = (await client.call('usb.assignments', {})).filter((assignment) => assignment.vm === vm);
      const chosen = device === undefined ? ofVm : await assignmentsOf(client, ofVm, parseDeviceWord(device), form);
      if (device !== undefined && chosen.length === 0) {
        means.out.tell(`ERROR: ${device} is not assigned to VM ${vm}. See: qvm-usb list -s ${vm}`);
        return 1;
      }
      for (const { id } of chosen) await client.call('usb.unassign', { assignment: id });
      return undefined;
    },
  },
  {
    name: 'info',
    aliases: ['i'],
    takes: '[VM] [BACKEND:PORT[:DEVID]]',
    says: 'Tell all that is known of a device, or of those of a VM, or of all.',
    options: {},
    words: ['vm', 'device'],
    async run(means, line) {
      const words = takeWords(line, 0, 2);
      const device = words.find((word) => word?.includes(':'));
      const name = words.find((word) => word?.includes(':') === false);
      if (words.filter((word) => word !== undefined && word !== device).length > 1) {
        throw new Fault('usage', { what: 'info takes one VM and one device' });
      }
      const client = await means.daemon();
      const vm = name === undefined ? undefined : await vmNamed(client, name);
      const isOfVm = (row: { readonly vm?: string; readonly device: string }) =>
        vm === undefined || row.vm === vm || row.device.startsWith(`${vm}:`);
      const word = device === undefined ? undefined : parseDeviceWord(device);
      const rows = word === undefined ? await client.call('usb.list', {}) : [await deviceAt(client, word)];
      const assignments = await client.call('usb.assignments', {});
      const text = infoText(rows.filter(isOfVm), assignments);
      if (text !== '') means.out.print(text);
      return undefined;
    },
  },
];

/** A device in its place, as far as that is known. */
interface Placed extends Pick<DeviceWord, 'key'> {
  readonly deviceId: string | undefined;
  readonly location: string | undefined;
}
type Form = keyof typeof FORM_OPTIONS;
const FORMS = Object.keys(FORM_OPTIONS) as readonly Form[];

/** The pattern of each form; none when what it needs is not known. */
const PATTERNS: Readonly<Record<Form | 'both', (device: Placed) => string | undefined>> = {
  both: ({ key, deviceId }) => (deviceId === undefined ? undefined : `${key}:${deviceId}`),
  port: ({ key }) => key,
  device: ({ deviceId }) => deviceId,
  location: ({ key, location }) =>
    location === undefined ? undefined : locationKey({ backend: parseDeviceRef(key).backend, place: location }),
};

/** Finds the assignments that are about the device; without a form, in any form. */
async function assignmentsOf(
  client: Daemon,
  ofVm: readonly AssignmentView[],
  word: DeviceWord,
  form: Form | undefined,
): Promise<AssignmentView[]> {
  const rows = await client.call('usb.list', { isAll: true });
  const { deviceId, location } = rows.find((row) => row.device === word.key) ?? {};
  const placed = { key: word.key, deviceId: word.deviceId ?? deviceId, location: location?.toLowerCase() };
  const forms = form === undefined ? (['both', ...FORMS] as const) : [form];
  const patterns = forms.map((one) => PATTERNS[one](placed));
  return ofVm.filter(({ device }) => patterns.includes(device));
}

function selectionOf(line: ParsedLine): Selection {
  const exclude = line.texts('exclude');
  if (line.has('all') && line.words.length > 0) throw new Fault('usage', { what: 'give either VMs or --all' });
  if (exclude.length > 0 && !line.has('all')) throw new Fault('usage', { what: '--exclude goes with --all' });
  return line.words.length > 0 ? { only: line.words } : { exclude };
}

function modeOf(line: ParsedLine): AssignmentMode {
  if (line.has('required') && line.has('ask')) throw new Fault('usage', { what: 'give either --required or --ask' });
  return line.has('required') ? 'required' : line.has('ask') ? 'ask' : 'auto';
}

function formOf(line: ParsedLine): Form | undefined {
  const [form, other] = FORMS.filter((one) => line.has(one));
  if (other !== undefined) throw new Fault('usage', { what: `give either --${form} or --${other}` });
  return form;
}

function refuseOptions(line: ParsedLine): void {
  const [option] = line.texts('option');
  if (option !== undefined) throw new Fault('usage', { what: `USB devices take no options, and so no "${option}"` });
  if (line.has('ro')) throw new Fault('usage', { what: 'a USB device cannot be attached read-only' });
}

function vmAndDevice(line: ParsedLine): [string, DeviceWord] {
  const [vm, device = ''] = takeWords(line, 2, 2);
  return [vm, parseDeviceWord(device)];
}

function takeWords({ words }: ParsedLine, least: number, most: number): [string, string | undefined] {
  if (words.length < least) throw new Fault('usage', { what: 'a VM or a device is missing' });
  if (words.length > most) throw new Fault('usage', { what: `"${words[most]}" is too much` });
  return [words[0] as string, words[1]];
}

function ignoreExisting(error: unknown): void {
  if (!isFault(error, 'assignment.exists')) throw error;
}
