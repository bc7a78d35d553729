/** How the commands `usher usb …` show their answers: columns of tables, and texts. Texts come escaped from the daemon. */
import type { AssignmentView, DeviceView, ExplainView, HoldView, QuestionView, TraceEntry } from '../../api/views.ts';
import type { Column } from '../print.ts';

/** WHY is what people look for: what a device says of itself gives way to it. */
const DEVICE_COLUMNS: readonly Column<DeviceView>[] = [
  { title: 'DEVICE', of: (row) => row.device, yields: { turn: 3, least: 10 } },
  { title: 'DEVICE ID', of: (row) => row.deviceId, yields: { turn: 1, least: 10 } },
  { title: 'DESCRIPTION', of: (row) => row.description, yields: { turn: 1, least: 11 } },
  { title: 'STATE', of: (row) => (row.isAbsent === true ? `${row.state} (absent)` : row.state) },
  {
    title: 'VM',
    of: (row) => (row.vm === undefined ? '-' : `${row.vm}${row.slot ? ` ${row.slot}` : ''}`),
    yields: { turn: 3, least: 8 },
  },
  { title: 'WHY', of: (row) => row.why, yields: { turn: 2, least: 18 } },
];

/** In the place of the device id, for those who ask where devices are. */
const LOCATION_COLUMN: Column<DeviceView> = {
  title: 'LOCATION',
  of: (row) => row.location ?? '-',
  yields: { turn: 3, least: 10 },
};

/** Gives the columns of devices: with their ids, or with their locations. */
export function deviceColumns(hasLocations: boolean): readonly Column<DeviceView>[] {
  if (!hasLocations) return DEVICE_COLUMNS;
  return DEVICE_COLUMNS.map((column) => (column.title === 'DEVICE ID' ? LOCATION_COLUMN : column));
}

export const ASSIGNMENT_COLUMNS: readonly Column<AssignmentView>[] = [
  { title: 'NUMBER', of: (row) => String(row.id) },
  { title: 'VM', of: (row) => row.vm, yields: { turn: 2, least: 12 } },
  { title: 'DEVICE', of: (row) => row.device, yields: { turn: 2, least: 20 } },
  { title: 'MODE', of: (row) => row.mode },
  { title: 'MATCHES', of: (row) => row.matches.join(' ') || '-', yields: { turn: 1, least: 12 } },
];

export const HOLD_COLUMNS: readonly Column<HoldView>[] = [
  { title: 'DEVICE', of: (row) => row.device, yields: { turn: 2, least: 16 } },
  {
    title: 'HELD',
    of: (row) => (row.kind === 'in' ? `in ${row.vm}` : 'out of every VM'),
    yields: { turn: 1, least: 16 },
  },
  { title: 'SINCE', of: (row) => row.since },
];

export const QUESTION_COLUMNS: readonly Column<QuestionView>[] = [
  { title: 'DEVICE', of: (row) => row.device, yields: { turn: 3, least: 10 } },
  { title: 'DEVICE ID', of: (row) => row.deviceId, yields: { turn: 1, least: 10 } },
  { title: 'DESCRIPTION', of: (row) => row.description, yields: { turn: 1, least: 11 } },
  { title: 'MAY GO TO', of: (row) => row.vms.join(' '), yields: { turn: 2, least: 10 } },
  { title: 'UNTIL', of: (row) => row.until },
];

/** Lays out the whole answer to "why". */
export function explained(view: ExplainView): string {
  const place = view.vm === undefined ? '' : ` ${view.vm}${view.slot === undefined ? '' : ` ${view.slot}`}`;
  const section = (title: string, lines: readonly string[]) => (lines.length === 0 ? [] : ['', title, ...lines]);
  return [
    `${view.device}  ${view.description}  (${view.deviceId})`,
    ...(view.location === undefined ? [] : [`location ${view.location}`]),
    `${view.state}${place}`,
    ...section(
      'because',
      view.because.map((line) => `  ${line}`),
    ),
    ...section(
      'what lost',
      view.losers.map((loser) => `  assignment ${loser.assignment} to ${loser.vm}: ${loser.because}`),
    ),
    ...section(
      'rules',
      view.rules.map(({ rule, decides, because }) => `  ${decides ? '*' : ' '} ${rule}: ${because}`),
    ),
    ...section(
      'twins (the same device id)',
      view.twins.map(({ device, location }) => `  ${device}${location === undefined ? '' : `  location ${location}`}`),
    ),
    ...section(
      'what would change it',
      view.changes.flatMap((change) => [
        `  ${change.says}: ${change.gives}`,
        ...(change.command === undefined ? [] : [`      ${change.command}`]),
      ]),
    ),
  ].join('\n');
}

export function traceLine({ at, is, says }: TraceEntry): string {
  return `${at.replace('T', ' ').replace('Z', '')}  ${is.padEnd(6)}  ${says}`;
}
