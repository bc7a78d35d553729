/** qvm-usb's lines, one by one, against a daemon that only answers and notes what it was asked. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import type { Daemon } from '../../api/client.ts';
import { OPERATIONS, type OperationName } from '../../api/operations.ts';
import type { AssignmentView, DeviceView } from '../../api/views.ts';
import { Fault } from '../../lib/fault.ts';
import { oldListing } from './old-forms.ts';
import { comparePlaces, parseDeviceWord } from './places.ts';
import { completeQvmUsb, runQvmUsb } from './program.ts';
import { VERBS } from './verbs.ts';

const STICK = '0951:1666:S1:080650';

function device(place: string, more: Partial<DeviceView> = {}): DeviceView {
  return {
    ...{ device: place, deviceId: STICK, description: 'Kingston DataTraveler', udevName: 'Kingston_DataTraveler_S1' },
    ...{ speed: 'high', state: 'left', why: 'nothing asks for it' },
    ...more,
  };
}

function inVm(place: string, vm: string, slot: string, more: Partial<DeviceView> = {}): DeviceView {
  return device(place, { state: 'attached', vm, slot, ...more });
}

function assigned(id: number, vm: string, pattern: string, mode = 'auto', matches: string[] = []): AssignmentView {
  return { id, vm, device: pattern, mode, matches };
}

interface Stand {
  readonly devices?: readonly DeviceView[];
  readonly assignments?: readonly AssignmentView[];
  /** What an operation fails with. */
  readonly faults?: Partial<Record<OperationName, Fault>>;
  readonly isTerminal?: boolean;
}

/** Runs a line; gives its status, what it wrote, and what it asked of the daemon besides looking. */
async function run(line: string, stand: Stand = {}) {
  const { devices = [], assignments = [], faults = {}, isTerminal = false } = stand;
  const vms = ['work', 'play', 'usbvm'].map((name) => ({ name, uuid: `uuid-of-${name}` }));
  const answers: Partial<Record<OperationName, unknown>> = {
    'usb.list': devices,
    'vm.list': vms,
    'usb.assignments': assignments,
  };
  const asked: string[] = [];
  const call = async (operation: OperationName, params: object) => {
    const checked = v.safeParse(OPERATIONS[operation].params, params);
    assert.ok(checked.success, `${operation} ${JSON.stringify(params)}: ${checked.issues?.[0]?.message}`);
    if (!(operation in answers)) asked.push([operation, ...Object.values(params)].join(' '));
    const fault = faults[operation];
    if (fault !== undefined) throw fault;
    return answers[operation];
  };
  const [out, err]: [string[], string[]] = [[], []];
  const status = await runQvmUsb(line === '' ? [] : line.split(' '), {
    daemon: async () => ({ call }) as unknown as Daemon,
    out: {
      columns: undefined,
      isTerminal,
      print: (text) => out.push(...text.split('\n')),
      tell: (text) => err.push(...text.split('\n')),
      progress() {},
    },
  });
  return { status, out, err, asked };
}

test('-l gives place, tab, numbers and name, and where it is; sorted by place as numbers, not as letters', async () => {
  const devices = [
    device('usbvm:4-6'),
    inVm('dom0:7-10', 'work', '0-1', { udevName: 'A_B', deviceId: '0718:061a::080650' }),
    device('dom0:7-4.2'),
    device('dom0:7-4', { state: 'waiting', vm: 'play' }),
    device('dom0:7-5', { state: 'detaching', vm: 'play' }),
  ];
  const expected = [
    'dom0:7-4\t0951:1666 Kingston_DataTraveler_S1',
    'dom0:7-4.2\t0951:1666 Kingston_DataTraveler_S1',
    'dom0:7-5\t0951:1666 Kingston_DataTraveler_S1 (attached to play)',
    'dom0:7-10\t0718:061a A_B (attached to work:0-1)',
    'usbvm:4-6\t0951:1666 Kingston_DataTraveler_S1',
  ];
  for (const line of ['-l', '--list', '']) {
    assert.deepEqual(await run(line, { devices }), { status: 0, out: expected, err: [], asked: [] }, line);
  }
});

test('-l shows what was pulled out for as long as it has its port, and not what is only waited for', () => {
  const gone = { state: 'gone', description: '', udevName: '', vm: 'work' };
  const rows = [device('dom0:1-1', { ...gone, slot: '0-3' }), device('dom0:1-2', gone)];
  assert.deepEqual(oldListing(rows), ['dom0:1-1\t0951:1666 (attached to work:0-3)']);
});

test('-a moves a device unless it may not, and says nothing when it is done', async () => {
  assert.deepEqual(await run('-a work usbvm:4-1'), {
    status: 0,
    out: [],
    err: [],
    asked: ['usb.attach work usbvm:4-1 true'],
  });
  assert.deepEqual((await run('-a --no-auto-detach work usbvm:4-1')).asked, ['usb.attach work usbvm:4-1 false']);
  assert.deepEqual((await run('--attach work usbvm:4-1 --no-auto-detach --force-root')).asked, [
    'usb.attach work usbvm:4-1 false',
  ]);
});

test('-d takes the name of either side, and the one that names an attached device is meant', async () => {
  const devices = [inVm('dom0:7-5', 'work', '0-1'), device('dom0:7-6')];
  for (const line of ['-d work:0-1', '-d dom0:7-5', '-d host:7-5']) {
    const { status, asked } = await run(line, { devices });
    assert.deepEqual([status, asked], [0, ['usb.detach dom0:7-5']], line);
  }
});

test('-d of a name that two attached devices answer to does nothing, prints both and ends with 2', async () => {
  const devices = [inVm('usbvm:4-1', 'work', '0-1'), inVm('dom0:1-1', 'usbvm', '4-1')];
  const { status, out, err, asked } = await run('-d usbvm:4-1', { devices });
  assert.deepEqual([status, out, asked], [2, [], []]);
  assert.deepEqual(err.slice(1), oldListing(devices));
  const onlyBackend = [devices[0] as DeviceView, device('dom0:1-1')];
  assert.deepEqual((await run('-d usbvm:4-1', { devices: onlyBackend })).asked, ['usb.detach usbvm:4-1']);
});

test('-d of what is not attached warns and ends with 0; of what is not there with 2', async () => {
  const devices = [device('dom0:7-6'), device('dom0:7-7', { state: 'waiting', vm: 'work' })];
  for (const line of ['-d dom0:7-6', '-d dom0:7-7', '-d work:0-1']) {
    const { status, err, asked } = await run(line, { devices });
    assert.deepEqual([status, err.length, asked], [0, 1, []], line);
    assert.match(err[0] ?? '', /warning/);
  }
  for (const line of ['-d dom0:9-9', '-d nobody:0-1', '-d work:1-1.2', '-d nobody']) {
    assert.equal((await run(line, { devices })).status, 2, line);
  }
});

test('-d of a VM detaches all that is in it, and one that fails keeps no other in', async () => {
  const devices = [inVm('dom0:7-5', 'work', '0-1'), inVm('dom0:7-2', 'work', '0-2'), inVm('dom0:7-3', 'play', '0-1')];
  assert.deepEqual((await run('-d work', { devices })).asked, ['usb.detach dom0:7-2', 'usb.detach dom0:7-5']);
  const fault = new Fault('usb.detach_failed', { device: 'it', vm: 'work', what: 'it is in use' });
  const failed = await run('detach work', { devices, faults: { 'usb.detach': fault } });
  assert.deepEqual([failed.status, failed.asked.length], [1, 2]);
  assert.match(failed.err[0] ?? '', /^ERROR: /);
});

test('exit statuses: 2 for a wrong line, 1 with ERROR for what fails, 1 for several of -l, -a and -d', async () => {
  const wrong = ['-a', '-a work', '-a work dom0', '-a work dom0:1-1 x', '-d', '-d a:1-1 b:1-1', '--nonsense', 'work'];
  for (const line of [...wrong, '-l --no-auto-detach', 'attach work', 'list --exclude work', 'info a b c']) {
    const { status, err, out, asked } = await run(line);
    assert.deepEqual([status, out, asked], [2, [], []], line);
    assert.match(err[0] ?? '', /^qvm-usb: error: [^.]+/, line);
  }
  const { status, err, asked } = await run('-l -d work:0-1');
  assert.deepEqual([status, err.length, asked], [1, 1, []]);

  const missing = new Fault('vm.not_found', { vm: 'nobody' });
  assert.equal((await run('-a nobody dom0:1-1', { faults: { 'usb.attach': missing } })).status, 2);
  const taken = new Fault('usb.attached', { device: 'dom0:1-1', vm: 'play' });
  const failed = await run('-a --no-auto-detach work dom0:1-1', { faults: { 'usb.attach': taken } });
  assert.deepEqual([failed.status, failed.err], [1, ['ERROR: The device dom0:1-1 is attached to VM play.']]);
  const away = new Fault('daemon.unreachable', { socket: '/s' }, { hint: 'Start it.' });
  const unreachable = await run('-l', { faults: { 'usb.list': away } });
  assert.deepEqual([unreachable.status, unreachable.err], [1, ['ERROR: No daemon answers on /s.', '       Start it.']]);
});

test('list shows who uses a device, titles on a terminal only, and assignments when asked', async () => {
  const devices = [inVm('dom0:1-10', 'work', '0-1'), device('dom0:1-2')];
  const assignments = [
    assigned(1, 'work', 'dom0:1-10', 'auto', ['dom0:1-10']),
    assigned(2, 'play', STICK, 'ask', ['dom0:1-10', 'dom0:1-2']),
    assigned(3, 'play', 'dom0:9-1', 'required'),
  ];
  const plain = await run('list', { devices, assignments });
  assert.deepEqual(plain.out, [
    'dom0:1-2      Kingston DataTraveler',
    'dom0:1-10     Kingston DataTraveler  work (attached)',
  ]);
  const all = await run('ls --assignments --with-sbdf', { devices, assignments, isTerminal: true });
  assert.match(all.out[0] ?? '', /BACKEND:PORT +DESCRIPTION +USED BY/);
  assert.deepEqual(
    all.out.slice(1).map((line) => line.replaceAll(/ {2,}/g, ' | ')),
    [
      `dom0:1-2 | Kingston DataTraveler | *play (ask-to-attach: ${STICK})`,
      `dom0:1-10 | Kingston DataTraveler | work (attached), *work (auto-attach: dom0:1-10), *play (ask-to-attach: ${STICK})`,
      'dom0:9-1 | not plugged | *play (required: dom0:9-1)',
    ],
  );
  assert.deepEqual(await run('l'), { status: 0, out: [], err: [], asked: [] });
});

test('list takes VMs, or all but some: what they have and what they use', async () => {
  const devices = [inVm('dom0:1-1', 'work', '0-1'), device('dom0:1-2'), inVm('usbvm:4-1', 'play', '0-1')];
  const places = async (line: string) => (await run(line, { devices })).out.map((row) => row.split(' ')[0]);
  assert.deepEqual(await places('list work'), ['dom0:1-1']);
  assert.deepEqual(await places('list usbvm work'), ['dom0:1-1', 'usbvm:4-1']);
  assert.deepEqual(await places('list dom0'), ['dom0:1-1', 'dom0:1-2']);
  assert.deepEqual(await places('list --all'), ['dom0:1-1', 'dom0:1-2', 'usbvm:4-1']);
  assert.deepEqual(await places('list --all --exclude dom0 --exclude play'), ['dom0:1-1', 'usbvm:4-1']);
  assert.equal((await run('list nobody', { devices })).status, 2);
  assert.equal((await run('list --all work', { devices })).status, 2);
});

test('attach and assign by place and id; what USB devices cannot have is refused with a sentence', async () => {
  const devices = [device('dom0:1-1')];
  const asked = async (line: string) => (await run(line, { devices })).asked;
  assert.deepEqual(await asked('attach work dom0:1-1'), ['usb.attach work dom0:1-1']);
  assert.deepEqual(await asked('at uuid-of-work dom0:1-1:0951:1666'), ['usb.attach work dom0:1-1']);
  assert.deepEqual(await asked(`a work dom0:1-1:0951:1666:S1:u080650 -p`), [
    'usb.attach work dom0:1-1',
    `usb.assign work dom0:1-1:${STICK} auto`,
  ]);
  assert.deepEqual(await asked('assign work dom0:1-1'), [`usb.assign work dom0:1-1:${STICK} auto`]);
  assert.deepEqual(await asked('s work dom0:1-1 --port -r'), ['usb.assign work dom0:1-1 required']);
  assert.deepEqual(await asked('s work dom0:9-1 --port --ask'), ['usb.assign work dom0:9-1 ask']);
  assert.deepEqual(await asked('assign --device work dom0:1-1'), [`usb.assign work ${STICK} auto`]);
  const { asked: byLocation } = await run('assign --location work dom0:1-1', {
    devices: [device('dom0:1-1', { location: '0000:00:14.0/1' })],
  });
  assert.deepEqual(byLocation, ['usb.assign work dom0:0000:00:14.0/1 auto']);
  assert.deepEqual(await asked('assign work dom0:9-1:1234:5678:X:030101'), [
    'usb.assign work dom0:9-1:1234:5678:X:030101 auto',
  ]);
  for (const line of ['attach -o a=b work dom0:1-1', 'assign --ro work dom0:1-1', 'attach --ro work dom0:1-1']) {
    const { status, err } = await run(line, { devices });
    assert.equal(status, 2, line);
    assert.match(err[0] ?? '', /USB devices take no options|read-only/, line);
  }
  for (const line of [
    'attach work dom0:1-1:1234:5678',
    'assign work dom0:9-1',
    'assign -r --ask work dom0:1-1',
    'assign --port --device work dom0:1-1',
    'assign --port --location work dom0:1-1',
    'assign --location work dom0:1-1',
  ]) {
    assert.deepEqual([(await run(line, { devices })).status, await asked(line)], [2, []], line);
  }
});

test('an assignment that is there already does not fail a persistent attach', async () => {
  const faults = { 'usb.assign': new Fault('assignment.exists', { assignment: 4 }) };
  assert.equal((await run('attach -p work dom0:1-1', { devices: [device('dom0:1-1')], faults })).status, 0);
});

test('detach asks for the device to be in that VM', async () => {
  const devices = [inVm('dom0:1-1', 'work', '0-1')];
  assert.deepEqual((await run('detach work dom0:1-1', { devices })).asked, ['usb.detach dom0:1-1']);
  for (const line of ['detach play dom0:1-1', 'dt work dom0:1-2', 'd work dom0:1-1:1234:5678']) {
    const { status, err, asked } = await run(line, { devices });
    assert.deepEqual([status, asked], [1, []], line);
    assert.match(err[0] ?? '', /ERROR: .* could not be detached from VM \w+: it is not attached there\./);
  }
});

test('unassign finds assignments about a device by any form, or by the one that is asked for', async () => {
  const devices = [device('dom0:1-1', { location: '0000:00:14.0/1' })];
  const assignments = [
    assigned(1, 'work', 'dom0:1-1'),
    assigned(2, 'work', STICK),
    assigned(3, 'work', `dom0:1-1:${STICK}`),
    assigned(4, 'play', 'dom0:1-1'),
    assigned(5, 'work', 'dom0:2-*'),
    assigned(6, 'work', 'dom0:0000:00:14.0/1'),
  ];
  const gone = async (line: string) =>
    (await run(line, { devices, assignments })).asked.map((word) => Number(word.split(' ')[1]));
  assert.deepEqual(await gone('unassign work dom0:1-1'), [1, 2, 3, 6]);
  assert.deepEqual(await gone('u --port work dom0:1-1'), [1]);
  assert.deepEqual(await gone('u --device work dom0:1-1'), [2]);
  assert.deepEqual(await gone('u --location work dom0:1-1'), [6]);
  assert.deepEqual(await gone('u work'), [1, 2, 3, 5, 6]);
  assert.equal((await run('u work dom0:1-9', { devices, assignments })).status, 1);
  assert.equal((await run('u --port work', { devices, assignments })).status, 2);
});

test('info tells of a device, of a VM, or of all', async () => {
  const devices = [inVm('dom0:1-1', 'work', '0-1', { location: '0000:00:14.0/1' }), device('dom0:1-2')];
  const assignments = [assigned(1, 'play', 'dom0:1-*', 'manual', ['dom0:1-1', 'dom0:1-2'])];
  const one = await run('info dom0:1-1', { devices, assignments });
  assert.deepEqual(one.out, [
    'dom0:1-1',
    '  description  Kingston DataTraveler',
    `  device id    ${STICK}`,
    '  location     0000:00:14.0/1',
    '  speed        high',
    '  state        attached work 0-1',
    '  why          nothing asks for it',
    '  assigned     *play (manual: dom0:1-*)',
  ]);
  assert.equal((await run('i', { devices })).out.filter((line) => line.startsWith('dom0:')).length, 2);
  assert.deepEqual((await run('i work', { devices })).out[0], 'dom0:1-1');
  assert.equal((await run('i dom0:9-9', { devices })).status, 2);
});

test('help names every form, verb and option', async () => {
  const { out, status } = await run('--help');
  assert.equal(status, 0);
  const text = out.join('\n');
  for (const { name, aliases, options } of VERBS) {
    assert.ok(text.includes(`qvm-usb ${name} `) && text.includes(`${name} (${aliases.join(', ')})`), name);
    const own = (await run(`${name} --help`)).out.join('\n');
    for (const option of Object.keys(options)) assert.ok(own.includes(`--${option}`), `${name} --${option}`);
  }
  assert.match((await run('--version')).out[0] ?? '', /Usher/);
  assert.deepEqual((await run('--list-device-classes')).out, ['usb']);
});

test('completion gives verbs, options, VMs and devices', async () => {
  const answers: Record<string, object[]> = { 'vm.list': [{ name: 'work' }], 'usb.list': [{ device: 'dom0:1-1' }] };
  const daemon = async () => ({ call: async (operation: string) => answers[operation] }) as unknown as Daemon;
  const complete = (line: string) => completeQvmUsb(line.split(' '), daemon);
  assert.deepEqual(
    await complete('at'),
    VERBS.map(({ name }) => name),
  );
  assert.ok((await complete('--')).includes('--no-auto-detach'));
  assert.ok((await complete('attach --')).includes('--persistent'));
  assert.deepEqual(await complete('attach '), ['work']);
  assert.deepEqual(await complete('attach -p work '), ['dom0:1-1']);
  assert.deepEqual(await complete('attach work dom0:1-1 '), []);
  assert.deepEqual(await complete('ls a b '), ['work']);
  assert.deepEqual(await complete('ls --all --exclude '), ['work']);
  assert.deepEqual(await complete('-a '), ['work']);
  assert.deepEqual(await complete('-a --no-auto-detach work '), ['dom0:1-1']);
  assert.deepEqual(await complete('-d '), ['dom0:1-1']);
  assert.deepEqual(await complete('-l '), []);
});

test('places are compared by backend, then by number; words are parsed as places and ids', () => {
  const sorted = ['dom0:1-2', 'dom0:1-10', 'dom0:1-10.1', 'dom0:2-1', 'usb-vm:1-1', 'usb.vm:1-1', 'usbvm:1-1'];
  assert.deepEqual(sorted.toReversed().sort(comparePlaces), sorted);
  assert.deepEqual(parseDeviceWord('host:1-1:*'), { key: 'dom0:1-1' });
  assert.deepEqual(parseDeviceWord('usbvm:1-1:0951:1666:S1:u080650u030101'), {
    key: 'usbvm:1-1',
    deviceId: '0951:1666:S1:030101.080650',
  });
});
