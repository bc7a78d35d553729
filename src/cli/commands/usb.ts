/** The commands `usher usb …`: devices, assignments, holds, and why. */
import type { DeviceView, TraceEntry } from '../../api/views.ts';
import { Fault } from '../../lib/fault.ts';
import { printableJson } from '../../lib/text.ts';
import { ASSIGNMENT_MODES, type AssignmentMode, locationKey } from '../../model/assignment.ts';
import { parseDeviceRef, SOFTWARE_KINDS } from '../../model/usb.ts';
import type { ArgumentSpec, CommandSpec, Context } from '../command.ts';
import { table } from '../print.ts';
import { SINCE_FORMS } from '../since.ts';
import { CONFIRM, confirmSeconds, sayTrial } from '../trial.ts';
import { given, pathOption, show, sinceOption, textOption, wholeNumber, word } from '../values.ts';
import {
  ASSIGNMENT_COLUMNS,
  deviceColumns,
  explained,
  HOLD_COLUMNS,
  QUESTION_COLUMNS,
  traceLine,
} from './usb-shown.ts';

const DEVICE: ArgumentSpec = { name: 'device', doc: 'backend:busid, such as dom0:3-1.4', completion: 'device' };
const VM: ArgumentSpec = { name: 'vm', doc: 'name or uuid of the VM', completion: 'vm' };

export const USB_COMMANDS: readonly CommandSpec[] = [
  {
    noun: 'usb',
    verb: 'list',
    aliases: ['ls'],
    about: { operation: 'usb.list' },
    options: [
      { flags: '-a, --all', doc: 'show hubs and other devices that are never given away, too' },
      { flags: '-l, --locations', doc: 'show where devices are, controller and ports, instead of their ids' },
    ],
    examples: ['usher usb list', 'usher usb list --locations', 'usher usb list --all --json'],
    async run(context) {
      const params = { withAbsent: true, ...(context.options['all'] ? { isAll: true } : {}) };
      return list(context, await (await context.daemon()).call('usb.list', params));
    },
  },
  {
    noun: 'usb',
    verb: 'plug',
    about: { operation: 'usb.plug' },
    options: [
      { flags: '--at <device>', doc: 'the place, such as virtual:1-2', isRequired: true },
      { flags: '--kind <kind>', doc: 'what is plugged', choices: SOFTWARE_KINDS, isRequired: true },
      { flags: '--file <file>', doc: 'the content of a storage device' },
      { flags: '--serial <serial>', doc: 'the serial number that it claims' },
      { flags: '--read-only', doc: 'a storage device that the guest cannot write' },
    ],
    examples: ['usher usb plug --at virtual:1-2 --kind storage --file stick.img --serial S1'],
    async run(context) {
      const device = await (await context.daemon()).call('usb.plug', {
        at: textOption(context, 'at') ?? '',
        kind: textOption(context, 'kind') as (typeof SOFTWARE_KINDS)[number],
        ...given({
          file: pathOption(context, 'file'),
          serial: textOption(context, 'serial'),
          isReadOnly: context.options['readOnly'] === true,
        }),
      });
      return one(context, device);
    },
  },
  simple('unplug', 'usb.unplug', ['usher usb unplug virtual:1-2']),
  {
    noun: 'usb',
    verb: 'attach',
    about: { operation: 'usb.attach' },
    args: [VM, DEVICE],
    options: [
      { flags: '--port <port>', doc: 'the socket in the VM, controller-port, such as 0-3' },
      { flags: '--force', doc: 'also when the host uses it; never its last keyboard or pointing device' },
      CONFIRM,
    ],
    examples: ['usher usb attach work dom0:3-1.4', 'usher usb attach work dom0:3-1.4 --force --confirm 30s'],
    async run(context) {
      const more = given({
        port: textOption(context, 'port'),
        isForced: context.options['force'] === true,
        confirmSeconds: confirmSeconds(context),
      });
      const params = { vm: word(context, 0), device: word(context, 1), ...more };
      return one(context, await (await context.daemon()).call('usb.attach', params));
    },
  },
  simple('detach', 'usb.detach', ['usher usb detach dom0:3-1.4']),
  simple('release', 'usb.release', ['usher usb release dom0:3-1.4'], 'hold'),
  {
    noun: 'usb',
    verb: 'assign',
    about: { operation: 'usb.assign' },
    args: [
      VM,
      {
        name: 'pattern',
        doc: 'port or location, device id, or both with a colon between; * allowed',
        completion: 'device',
      },
    ],
    options: [
      { flags: '--mode <mode>', doc: 'when it is attached (manual)', choices: ASSIGNMENT_MODES },
      { flags: '--auto', doc: 'the same as --mode auto' },
      { flags: '--ask', doc: 'the same as --mode ask' },
      { flags: '--required', doc: 'the same as --mode required' },
      { flags: '--by-id', doc: 'mean the device that is now at that port, wherever it is plugged' },
      {
        flags: '--by-location',
        doc: 'mean the place that is now that port, however buses are numbered; with --by-id that device there',
      },
      CONFIRM,
    ],
    examples: [
      'usher usb assign work virtual:1-* --auto              # whatever is plugged there',
      'usher usb assign work 0951:1666:S1:* --auto           # that device, in any port',
      'usher usb assign work dom0:3-1.4 --by-id --auto       # the device that is there now',
      'usher usb assign work dom0:3-1.4 --by-location --auto # whatever is plugged there, also when its bus has another number',
      'usher usb assign work dom0:0000:00:14.0/1.4 --auto    # the same place, by its name',
    ],
    async run(context) {
      const mode = modeOption(context);
      const client = await context.daemon();
      const device = await meantBy(context, word(context, 1));
      const assignment = await client.call('usb.assign', {
        vm: word(context, 0),
        device,
        ...given({
          mode,
          confirmSeconds: confirmSeconds(context),
        }),
      });
      return show(context, assignment, () => {
        const now = assignment.matches.length === 0 ? 'nothing plugged now' : assignment.matches.join(' ');
        const trial = assignment.trial === undefined ? '' : `\n${sayTrial(assignment.trial)}`;
        return `assignment ${assignment.id}: ${assignment.device} to ${assignment.vm}, ${assignment.mode}; matches ${now}${trial}`;
      });
    },
  },
  {
    noun: 'usb',
    verb: 'unassign',
    about: { operation: 'usb.unassign' },
    args: [{ name: 'number', doc: 'the assignment, see usher usb assignments', completion: 'assignment' }],
    examples: ['usher usb unassign 3'],
    async run(context) {
      const assignment = wholeNumber(word(context, 0), 'the number of an assignment');
      const gone = await (await context.daemon()).call('usb.unassign', { assignment });
      return show(context, gone, () => `removed assignment ${gone.id}: ${gone.device} to ${gone.vm}`);
    },
  },
  {
    noun: 'usb',
    verb: 'assignments',
    about: { operation: 'usb.assignments' },
    examples: ['usher usb assignments'],
    async run(context) {
      const rows = await (await context.daemon()).call('usb.assignments', {});
      return show(context, rows, () => table(rows, ASSIGNMENT_COLUMNS, context.out));
    },
  },
  {
    noun: 'usb',
    verb: 'holds',
    about: { operation: 'usb.holds' },
    examples: ['usher usb holds'],
    async run(context) {
      const rows = await (await context.daemon()).call('usb.holds', {});
      return show(context, rows, () => table(rows, HOLD_COLUMNS, context.out));
    },
  },
  {
    noun: 'usb',
    verb: 'pending',
    about: { operation: 'usb.pending' },
    examples: ['usher usb pending'],
    async run(context) {
      const rows = await (await context.daemon()).call('usb.pending', {});
      return show(context, rows, () =>
        rows.length === 0 ? 'No question is open.' : table(rows, QUESTION_COLUMNS, context.out),
      );
    },
  },
  {
    noun: 'usb',
    verb: 'answer',
    about: { operation: 'usb.answer' },
    args: [DEVICE, { name: 'vm', doc: 'the VM that may have it, or "no"', completion: 'vm' }],
    options: [{ flags: '--remember', doc: 'assign it to that VM, so that nobody is asked again' }],
    examples: ['usher usb answer dom0:3-1.4 work', 'usher usb answer dom0:3-1.4 no'],
    async run(context) {
      const vm = word(context, 1);
      const isRemembered = context.options['remember'] === true;
      const params = { device: word(context, 0), ...given({ vm: vm === 'no' ? undefined : vm, isRemembered }) };
      return one(context, await (await context.daemon()).call('usb.answer', params));
    },
  },
  {
    noun: 'usb',
    verb: 'explain',
    aliases: ['why'],
    about: { operation: 'usb.explain' },
    args: [DEVICE],
    examples: ['usher usb explain virtual:1-2'],
    async run(context) {
      const view = await (await context.daemon()).call('usb.explain', { device: word(context, 0) });
      return show(context, view, () => explained(view));
    },
  },
  {
    noun: 'usb',
    verb: 'trace',
    about: { operation: 'usb.trace' },
    args: [DEVICE],
    options: [
      { flags: '--since <time>', doc: `only from then on: ${SINCE_FORMS}` },
      { flags: '-f, --follow', doc: 'wait for more' },
    ],
    examples: ['usher usb trace dom0:3-1.4', 'usher usb trace dom0:3-1.4 --since 10m --follow'],
    run: trace,
  },
  {
    noun: 'usb',
    verb: 'reconcile',
    about: { operation: 'usb.reconcile' },
    examples: ['usher usb reconcile'],
    async run(context) {
      return list(context, await (await context.daemon()).call('usb.reconcile', {}));
    },
  },
];

/** Makes the command of an operation that takes a device and nothing else. */
function simple(
  verb: string,
  operation: 'usb.unplug' | 'usb.detach' | 'usb.release',
  examples: readonly string[],
  completion: 'device' | 'hold' = 'device',
): CommandSpec {
  return {
    noun: 'usb',
    verb,
    about: { operation },
    args: [{ ...DEVICE, completion }],
    examples,
    async run(context) {
      return one(context, await (await context.daemon()).call(operation, { device: word(context, 0) }));
    },
  };
}

/**
 * Gives the pattern that is meant: the word itself, or by the options that of the device which is there now.
 * @throws Fault `usage` for a device without a location
 */
async function meantBy({ options, daemon }: Context, device: string): Promise<string> {
  const [isById, isByLocation] = [options['byId'] === true, options['byLocation'] === true];
  if (!isById && !isByLocation) return device;
  const { location, deviceId, device: key } = await (await daemon()).call('usb.explain', { device });
  if (!isByLocation) return deviceId;
  if (location === undefined) {
    const what = `${key} has no location: software devices are on no controller, and a backend may not tell`;
    throw new Fault('usage', { what }, { hint: `Name its port: ${key}` });
  }
  const place = locationKey({ backend: parseDeviceRef(key).backend, place: location });
  return isById ? `${place}:${deviceId}` : place;
}

async function trace(context: Context): Promise<undefined> {
  const isFollowing = context.options['follow'] === true;
  const params = { device: word(context, 0), ...given({ since: sinceOption(context), isFollowing }) };
  const client = await context.daemon();
  const tell = (entry: TraceEntry) =>
    context.out.print(context.isJson ? printableJson(JSON.stringify(entry)) : traceLine(entry));
  // What comes while the answer is on its way waits until that has been shown.
  let early: TraceEntry[] | undefined = [];
  const view = await client.call('usb.trace', params, (notice) => {
    const { entry } = notice as { entry: TraceEntry };
    if (early === undefined) tell(entry);
    else early.push(entry);
  });
  if (!isFollowing) {
    return show(context, view, () =>
      [...view.entries.map(traceLine), ...view.now.map((says) => `now: ${says}`)].join('\n'),
    );
  }
  for (const entry of [...view.entries, ...early]) tell(entry);
  early = undefined;
  await client.closed();
  throw new Fault('daemon.unreachable', { socket: 'its socket any more' }, { hint: 'The daemon has stopped.' });
}

function list(context: Context, devices: readonly DeviceView[]): undefined {
  const nothing = 'No USB device is plugged. Try one in software: usher usb plug --at virtual:1-1 --kind tablet';
  const columns = deviceColumns(context.options['locations'] === true);
  return show(context, devices, () => (devices.length === 0 ? nothing : table(devices, columns, context.out)));
}

function one(context: Context, device: DeviceView): undefined {
  const place = device.vm === undefined ? '' : ` ${device.vm}${device.slot === undefined ? '' : ` ${device.slot}`}`;
  const trial = device.trial === undefined ? '' : `\n${sayTrial(device.trial)}`;
  return show(context, device, () => `${device.device}: ${device.state}${place}; ${device.why}${trial}`);
}

/** Gives the mode, by its own option or by `--mode`. @throws Fault `usage` for two at once */
function modeOption(context: Context): AssignmentMode | undefined {
  const named = textOption(context, 'mode');
  const chosen = ASSIGNMENT_MODES.filter((mode) => mode === named || context.options[mode] === true);
  if (chosen.length > 1) throw new Fault('usage', { what: `give one of the modes ${chosen.join(' and ')}` });
  return chosen[0];
}
