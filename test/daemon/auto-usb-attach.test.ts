/** auto-usb-attach as it is typed, on a simulated host: what it does while it runs, and what it leaves when it ends. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import type { AssignmentView, DeviceView, VmView } from '../../src/api/views.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { newUuid } from '../../src/model/ids.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { type RunningCommand, Stage } from '../support/stage.ts';

let stage: Stage;
let world: WorldProcess;
let hand: WorldClient;
let daemonEnv: NodeJS.ProcessEnv;
const running: RunningCommand[] = [];
let made = 0;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  hand = new WorldClient(world.socket);
  daemonEnv = { USHER_SIMULATOR_WORLD: world.socket };
  await hand.call('plug', { busid: '1-1', interfaces: ['090000'], guard: 'it is a hub' });
  await stage.startDaemon(daemonEnv);
});
afterEach(async () => {
  for (const command of running.splice(0)) await command.end('SIGKILL');
  for (const { id } of await assignments()) await stage.usher('usb', 'unassign', String(id));
});
after(async () => {
  await hand.close();
  await stage.strike();
  await world.stop();
});

test('what is plugged below the hub goes to the domain while it runs, however deep; what is beside it does not', async () => {
  const vm = await makeVm();
  await stage.usher('vm', 'start', vm);
  const command = begin('-d', vm, '-u', '1-1');
  await command.says(/watching/);
  await Promise.all(['1-1.2', '1-1.3.4.5', '1-10', '2-1'].map((busid) => plug(busid)));
  await deviceIs('dom0:1-1.2', `attached ${vm}`);
  await deviceIs('dom0:1-1.3.4.5', `attached ${vm}`);
  for (const device of ['dom0:1-10', 'dom0:2-1']) await deviceIs(device, 'left');
  assert.equal(await stateOf('dom0:1-1', true), 'guarded');
  await unplug('1-1.2');
  await command.says(/dom0:1-1\.2 is detached/);
  await plug('1-1.2');
  await deviceIs('dom0:1-1.2', `attached ${vm}`);
  await stage.usher('vm', 'restart', vm);
  await deviceIs('dom0:1-1.2', `attached ${vm}`);

  assert.equal(await command.end('SIGINT'), 0);
  assert.deepEqual(await assignments(), []);
  assert.equal(await stateOf('dom0:1-1.2'), `attached ${vm}`, 'what is attached at the end stays');
  await unplug('1-1.2');
  await plug('1-1.2');
  await deviceIs('dom0:1-1.2', 'left');
  for (const busid of ['1-1.2', '1-1.3.4.5', '1-10', '2-1']) await unplug(busid);
});

test('it tells all settings at the start, each line with its time, and is quiet when asked', async () => {
  const vm = await makeVm();
  await stage.usher('vm', 'start', vm);
  const log = join(stage.home, 'log');
  const command = begin(
    '-d',
    vm,
    '-u',
    'usb9',
    '-x',
    '0951:1666',
    '-l',
    log,
    '--no-daemon',
    '-s',
    '/qmp',
    '--usb-version',
    '2',
  );
  await command.says(/watching/);
  const [first = '', ...more] = command.said.trimEnd().split('\n');
  assert.match(first, new RegExp(`^\\[\\w{3} \\w{3} [ \\d]\\d \\d\\d:\\d\\d:\\d\\d \\d{4}\\] domain: ${vm}$`));
  const settings = ['hubs: usb9', 'devices: 0951:1666', 'qmp-socket: /qmp', 'usb-version: 2'];
  for (const setting of [...settings, 'wait-on-shutdown: false', 'wait-for-domain: true', `log-file: ${log}`]) {
    assert.ok(
      more.some((line) => line.endsWith(`] ${setting}`)),
      setting,
    );
  }
  assert.equal(await command.end('SIGTERM'), 0);
  assert.equal(await readFile(log, 'utf8'), command.said);

  const quiet = begin('-q', '-d', vm, '-u', 'usb9');
  await pollUntil({ what: 'its assignment', timeoutMs: 10_000, everyMs: 20 }, async () => (await assignments())[0]);
  assert.equal(await quiet.end('SIGINT'), 0);
  assert.equal(quiet.said, '');
});

test('a kind of device is watched for anywhere, and when it is a hub, what is below it', async () => {
  const vm = await makeVm();
  await stage.usher('vm', 'start', vm);
  const command = begin('-d', vm, '-x', '0951:1666', '-x', '05e3:0608');
  await command.says(/watching/);
  await plug('3-1');
  await deviceIs('dom0:3-1', `attached ${vm}`);
  await hand.call('plug', {
    ...{ busid: '3-2', vendorId: '05e3', productId: '0608', interfaces: ['090000'], guard: 'it is a hub' },
  });
  await hand.call('plug', { busid: '3-2.1', vendorId: '1234' });
  await deviceIs('dom0:3-2.1', `attached ${vm}`);
  assert.equal(await command.end('SIGINT'), 0);
  assert.deepEqual(await assignments(), []);
  for (const busid of ['3-1', '3-2.1', '3-2']) await unplug(busid);
});

test('it waits for a domain that does not run, unless told not to; a shutdown ends it, unless told to wait', async () => {
  const vm = await makeVm();
  const refused = await stage.run('auto-usb-attach', '-n', '-d', vm, '-u', 'usb9');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /does not run/);
  assert.deepEqual(await assignments(), []);

  const [once, again] = [begin('-d', vm, '-u', 'usb9'), begin('-w', '-d', vm, '-u', 'usb8')];
  for (const command of [once, again]) await command.says(/Waiting for domain/);
  await stage.usher('vm', 'start', vm);
  for (const command of [once, again]) await command.says(/watching/);
  await stage.usher('vm', 'shutdown', vm);
  assert.equal(await once.end(), 0);
  await again.says(/has shut down(.|\n)*Waiting for domain/);
  assert.deepEqual(
    (await assignments()).map(({ device }) => device),
    ['dom0:8-*'],
  );
  await stage.usher('vm', 'start', vm);
  await again.says(/watching(.|\n)*watching/);
  assert.equal(await again.end('SIGINT'), 0);
});

test('a domain that others run is taken in, and one that is made later is waited for', async () => {
  const name = `xl${++made}`;
  const command = begin('-d', name, '-u', 'usb9');
  await command.says(/Waiting for domain/);
  const config: VmConfig = {
    uuid: newUuid(),
    name,
    driver: 'simulator',
    memoryMiB: 64,
    vcpus: 1,
    disks: [],
    startup: { do: 'started' },
    onCrash: 'destroy',
    onHalt: 'destroy',
    onReboot: 'destroy',
    usbControllers: [{ type: 'auto', version: 3, ports: 4 }],
  };
  await hand.call('start', { config, isPaused: false });
  await plug('9-1');
  await deviceIs('dom0:9-1', `attached ${name}`);
  assert.match(command.said, /was started by others/);
  assert.ok((await stage.ask<VmView[]>('vm', 'list')).some((vm) => vm.name === name));
  assert.equal(await command.end('SIGINT'), 0);
  await unplug('9-1');
});

test('an assignment that a person has made stays, and decides as before', async () => {
  const vm = await makeVm();
  await stage.usher('vm', 'start', vm);
  await stage.usher('usb', 'assign', vm, 'dom0:1-1.*', '--auto');
  const command = begin('-d', vm, '-u', '1-1', '-u', 'usb9');
  await command.says(/dom0:1-1\.\* is assigned already/);
  await command.says(/watching/);
  assert.equal(await command.end('SIGINT'), 0);
  assert.deepEqual(
    (await assignments()).map(({ device }) => device),
    ['dom0:1-1.*'],
  );
});

test('what a killed run has left is taken over, and given back, by the next', async () => {
  const vm = await makeVm();
  await stage.usher('vm', 'start', vm);
  const killed = begin('-d', vm, '-u', '1-1', '-u', 'usb9');
  await killed.says(/watching/);
  await plug('9-1');
  await deviceIs('dom0:9-1', `attached ${vm}`);
  await killed.end('SIGKILL');
  assert.equal((await assignments()).length, 2, 'the devices stay with the VM, and come back to it');
  const next = begin('-d', vm, '-u', '1-1');
  await next.says(/watching/);
  await next.says(/dom0:9-1 stays attached/);
  assert.deepEqual(
    (await assignments()).map(({ device }) => device),
    ['dom0:1-1.*'],
  );
  assert.equal(await next.end('SIGINT'), 0);
  assert.deepEqual(await assignments(), []);
  assert.equal(await stateOf('dom0:9-1'), `attached ${vm}`);
  await unplug('9-1');
});

test('it goes on over a restart of the daemon, and says what stays when it ends without one', async () => {
  const vm = await makeVm();
  await stage.usher('vm', 'start', vm);
  const command = begin('-d', vm, '-u', 'usb9');
  await command.says(/watching/);
  await stage.endDaemon('SIGKILL');
  await command.says(/The daemon has gone/);
  await stage.startDaemon(daemonEnv);
  await command.says(/The daemon is back/);
  await plug('9-1');
  await command.says(/dom0:9-1 is attached/);
  assert.equal((await assignments()).length, 1);
  await unplug('9-1');
  await stage.endDaemon('SIGTERM');
  await command.says(/has gone(.|\n)*has gone/);
  assert.equal(await command.end('SIGINT'), 1);
  assert.match(command.said, /No daemon can be told .* dom0:9-\*/);
  await stage.startDaemon(daemonEnv);
});

test('without a daemon it is one itself, and the next daemon finds everything as it was', async () => {
  const vm = await makeVm();
  await stage.usher('vm', 'start', vm);
  await stage.endDaemon('SIGTERM');
  const alone = begin('-d', vm, '-u', 'usb9');
  await alone.says(/this is one/);
  await alone.says(/watching/);
  await plug('9-1');
  await deviceIs('dom0:9-1', `attached ${vm}`);
  const second = await stage.run('usherd');
  assert.equal(second.status, 5);
  assert.equal(await alone.end('SIGINT'), 0);
  assert.equal((await stage.try('usb', 'list')).status, 3);
  await stage.startDaemon(daemonEnv);
  assert.equal(await stateOf('dom0:9-1'), `attached ${vm}`);
  await unplug('9-1');
});

test('lines and files that make no sense end it with 2 before anything is done', async () => {
  await plug('2-2');
  const file = join(stage.home, 'bad.yaml');
  await writeFile(file, 'domain: x\nhubs: [usb1, wrong]\n');
  const lines: readonly (readonly [RegExp, ...string[]])[] = [
    [/no domain is named/, '-u', 'usb1'],
    [/nothing is to be watched/, '-d', 'x'],
    [/--hub takes hubs/, '-d', 'x', '-u', 'nonsense'],
    [/--specific-device takes/, '-d', 'x', '-x', '951:1666'],
    [/--usb-version takes 1, 2 or 3/, '-d', 'x', '-u', 'usb1', '--usb-version', '4'],
    [/either -v or -q/, '-d', 'x', '-u', 'usb1', '-v', '-q'],
    [/Unknown option '--what'/, '--what'],
    [/2-2 is no hub but Kingston DataTraveler/, '-d', 'x', '-u', '2-2'],
    [/bad\.yaml:2:14: "hubs" is/, '-c', file],
    [/nowhere\.yaml cannot be read/, '-c', join(stage.home, 'nowhere.yaml')],
  ];
  for (const [says, ...words] of lines) {
    const { status, stderr } = await stage.run('auto-usb-attach', ...words);
    assert.match(stderr, says);
    assert.equal(status, 2, words.join(' '));
  }
  assert.match((await stage.run('auto-usb-attach', '--help')).stdout, /-u, --hub HUB/);
  await unplug('2-2');
});

test('a file gives the settings, and the line goes before it', async () => {
  const vm = await makeVm();
  const file = join(stage.home, 'watch.yaml');
  await writeFile(file, `domain: other\nhubs:\n  - usb9\ndevices: 1234:ABCD\nwait-for-domain: false\nnonsense: 1\n`);
  const { status, stdout, stderr } = await stage.run('auto-usb-attach', '-c', file, '-d', vm, '-u', 'usb8');
  assert.equal(status, 1, 'wait-for-domain is false, and it does not run');
  for (const setting of [`domain: ${vm}`, 'hubs: usb9 usb8', 'devices: 1234:abcd', 'wait-for-domain: false']) {
    assert.ok(stdout.includes(`] ${setting}\n`), setting);
  }
  assert.match(stderr, /watch\.yaml:6:1: There is no key "nonsense"/);
});

function begin(...words: string[]): RunningCommand {
  const command = stage.begin('auto-usb-attach', words, daemonEnv);
  running.push(command);
  return command;
}

async function makeVm(): Promise<string> {
  const name = `vm${++made}`;
  const file = join(stage.home, `${name}.cfg`);
  await writeFile(file, [`name = ${name}`, 'driver = simulator', 'memory = 64', ''].join('\n'));
  await stage.usher('vm', 'create', file);
  return name;
}

async function plug(busid: string): Promise<void> {
  await hand.call('plug', { busid, serial: `S${busid}` });
}

async function unplug(busid: string): Promise<void> {
  await hand.call('unplug', { backend: 'dom0', busid });
}

async function assignments(): Promise<AssignmentView[]> {
  return await stage.ask<AssignmentView[]>('usb', 'assignments');
}

/** Gives `attached work`, `left`, or `absent`. */
async function stateOf(device: string, isAll = false): Promise<string> {
  const rows = await stage.ask<DeviceView[]>('usb', 'list', ...(isAll ? ['--all'] : []));
  const row = rows.find((other) => other.device === device);
  return row === undefined ? 'absent' : [row.state, row.vm].filter((word) => word !== undefined).join(' ');
}

async function deviceIs(device: string, state: string): Promise<void> {
  await pollUntil({ what: `${device} being ${state}`, timeoutMs: 10_000, everyMs: 50 }, async () =>
    (await stateOf(device)) === state ? true : undefined,
  );
}
