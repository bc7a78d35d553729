/** What the verbs `list` and `info` of qvm-usb show. Texts come escaped from the daemon. */
import type { AssignmentView, DeviceView, VmView } from '../../api/views.ts';
import { Fault } from '../../lib/fault.ts';
import { HOST_BACKEND } from '../../model/ids.ts';
import type { Output } from '../command.ts';
import { type Column, table } from '../print.ts';
import { comparePlaces, isInVm } from './places.ts';

/** Whose devices are shown: of the VMs named, or of all but some. A backend that is no VM (`dom0`) counts as one. */
export type Selection = { readonly only: readonly string[] } | { readonly exclude: readonly string[] };

export interface Known {
  readonly devices: readonly DeviceView[];
  readonly vms: readonly Pick<VmView, 'name'>[];
  /** Those to be shown. */
  readonly assignments: readonly AssignmentView[];
}

interface Row {
  readonly place: string;
  readonly description: string;
  /** VMs that it is shown for. */
  readonly of: readonly string[];
  readonly usedBy: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'BACKEND:PORT', of: ({ place }) => place, yields: { turn: 2, least: 12 } },
  { title: 'DESCRIPTION', of: ({ description }) => description, yields: { turn: 1, least: 12 } },
  { title: 'USED BY', of: ({ usedBy }) => usedBy, yields: { turn: 3, least: 16 } },
];

/** How Qubes calls the modes. */
const MODE_WORDS: Readonly<Record<string, string>> = {
  manual: 'manual',
  auto: 'auto-attach',
  ask: 'ask-to-attach',
  required: 'required',
};

/**
 * Lays out the devices, sorted by place, with titles on a terminal only; empty when there is none.
 * @throws Fault `vm.not_found` for a name that nothing has
 */
export function listTable(known: Known, selection: Selection, out: Output): string {
  const isShown = choose(known, selection);
  const plugged = known.devices.map((device): Row => {
    const ofIt = known.assignments.filter(({ matches }) => matches.includes(device.device));
    const attached = isInVm(device) ? [`${device.vm} (attached)`] : [];
    return {
      place: device.device,
      description: device.description,
      of: [backendOf(device.device), ...(device.vm === undefined ? [] : [device.vm]), ...ofIt.map(({ vm }) => vm)],
      usedBy: [...attached, ...ofIt.map(sayAssignment)].join(', '),
    };
  });
  const awaited = known.assignments
    .filter(({ matches }) => matches.length === 0)
    .map((assignment): Row => {
      const { device, vm } = assignment;
      return { place: device, description: 'not plugged', of: [vm], usedBy: sayAssignment(assignment) };
    });
  const rows = [
    ...plugged.toSorted((a, b) => comparePlaces(a.place, b.place)),
    ...awaited.toSorted((a, b) => (a.place < b.place ? -1 : 1)),
  ].filter(({ of }) => of.some(isShown));
  if (rows.length === 0) return '';
  const text = table(rows, COLUMNS, out);
  return out.isTerminal ? text : text.slice(text.indexOf('\n') + 1);
}

/** Tells what is known of each device, a block each. */
export function infoText(rows: readonly DeviceView[], assignments: readonly AssignmentView[]): string {
  return rows
    .toSorted((a, b) => comparePlaces(a.device, b.device))
    .map((row) => {
      const { device, description, deviceId, location, speed, state, vm, slot, why } = row;
      const place = [state, vm, slot].filter((word) => word !== undefined).join(' ');
      const ofIt = assignments.filter(({ matches }) => matches.includes(device));
      return [
        device,
        `  description  ${description || 'not plugged'}`,
        `  device id    ${deviceId}`,
        ...(location === undefined ? [] : [`  location     ${location}`]),
        ...(speed === '' ? [] : [`  speed        ${speed}`]),
        `  state        ${place}`,
        `  why          ${why}`,
        ...ofIt.map((assignment) => `  assigned     ${sayAssignment(assignment)}`),
      ].join('\n');
    })
    .join('\n\n');
}

function sayAssignment({ vm, mode, device }: AssignmentView): string {
  return `*${vm} (${MODE_WORDS[mode] ?? mode}: ${device})`;
}

function choose({ devices, vms }: Known, selection: Selection): (name: string) => boolean {
  const names = new Set([HOST_BACKEND, ...vms.map(({ name }) => name), ...devices.map((row) => backendOf(row.device))]);
  const named = 'only' in selection ? selection.only : selection.exclude;
  for (const vm of named) if (!names.has(vm)) throw new Fault('vm.not_found', { vm }, { hint: 'See: usher vm list' });
  return (name) => named.includes(name) === 'only' in selection;
}

function backendOf(place: string): string {
  return place.slice(0, place.indexOf(':'));
}
