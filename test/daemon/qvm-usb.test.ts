/** qvm-usb as it is typed: the examples of its documentation, on a simulated host with devices in dom0 and in a usbvm. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import type { PlugOptions } from '../../src/hypervisor/simulator/world-port.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

let stage: Stage;
let world: WorldProcess;
let hand: WorldClient;

const WLAN = { vendorId: '0b05', productId: '1706', manufacturer: 'ASUS', product: '802.11g WLAN Drive' };
const STORAGE = { vendorId: '05e3', productId: '0723', manufacturer: 'Generic', product: 'USB Storage' };
const MOUSE = { vendorId: '045e', productId: '0084', manufacturer: 'Microsoft', product: 'Basic Optical Mouse' };
const DRIVE = { vendorId: '0718', productId: '061a', manufacturer: 'TDKMedia', product: 'Trans-It Drive' };

/** The host of the documentation's example, plugged in no order; with hubs and a virtual device, which are not listed. */
const HOST: readonly PlugOptions[] = [
  { busid: '4-6', backend: 'usbvm', ...STORAGE },
  { busid: '7-5', ...WLAN, interfaces: ['ffffff'] },
  { busid: '1-1', ...MOUSE, interfaces: ['030102'], speed: 'low' },
  { busid: '7-4', ...DRIVE, serial: '070326AE8AF92D95' },
  { busid: '7-1', interfaces: ['090000'], guard: 'it is a hub' },
  { busid: '4-1', backend: 'usbvm', ...WLAN, guard: 'it is lent to this machine by another' },
];
const LISTING = [
  'dom0:1-1\t045e:0084 Microsoft_Basic_Optical_Mouse',
  'dom0:7-4\t0718:061a TDKMedia_Trans-It_Drive_070326AE8AF92D95 (attached to qdvp:0-1)',
  'dom0:7-5\t0b05:1706 ASUS_802.11g_WLAN_Drive (attached to netvm:0-1)',
  'usbvm:4-6\t05e3:0723 Generic_USB_Storage (attached to qdvp:1-1)',
];

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  hand = new WorldClient(world.socket);
  for (const device of HOST) await hand.call('plug', device);
  await stage.startDaemon({ USHER_SIMULATOR_WORLD: world.socket });
  for (const [name, controllers] of [
    ['netvm', 1],
    ['qdvp', 2],
  ] as const) {
    const file = join(stage.home, `${name}.cfg`);
    const usbctrl = Array.from({ length: controllers }, () => 'usbctrl = version=2,ports=6');
    await writeFile(file, [`name = ${name}`, 'driver = simulator', 'memory = 64', ...usbctrl, ''].join('\n'));
    await stage.usher('vm', 'create', file);
    await stage.usher('vm', 'start', name);
  }
});
after(async () => {
  await hand.close();
  await stage.strike();
  await world.stop();
});

test('-l prints the example listing, sorted, from a host set up that way', async () => {
  await qvmUsb('-a', 'qdvp', 'dom0:7-4');
  await qvmUsb('-a', 'netvm', 'dom0:7-5');
  await stage.usher('usb', 'attach', 'qdvp', 'usbvm:4-6', '--port', '1-1');
  assert.deepEqual(await listed(), LISTING);
  assert.equal(await qvmUsb(), `${LISTING.join('\n')}\n`);
});

test('the attach and the detach of the documentation work as they are typed', async () => {
  await hand.call('unplug', { backend: 'usbvm', busid: '4-1' });
  await hand.call('plug', { busid: '4-1', backend: 'usbvm', ...DRIVE, serial: 'SECOND' });
  await qvmUsb('-a', 'netvm', 'usbvm:4-1');
  const line = 'usbvm:4-1\t0718:061a TDKMedia_Trans-It_Drive_SECOND';
  assert.ok((await listed()).includes(`${line} (attached to netvm:0-2)`));
  await qvmUsb('-d', 'netvm:0-1');
  assert.ok((await listed()).includes('dom0:7-5\t0b05:1706 ASUS_802.11g_WLAN_Drive'));
  await qvmUsb('-d', 'usbvm:4-1');
  assert.ok((await listed()).includes(line));
});

test('a device in another VM is moved, or with --no-auto-detach left where it is, with status 1', async () => {
  const refused = await stage.run('qvm-usb', '-a', '--no-auto-detach', 'netvm', 'dom0:7-4');
  assert.deepEqual([refused.status, refused.stdout], [1, '']);
  assert.match(refused.stderr, /^ERROR: The device dom0:7-4 is attached to VM qdvp\.\n/);
  assert.ok((await listed()).includes(LISTING[1] ?? ''));
  await qvmUsb('-a', '--no-auto-detach', 'qdvp', 'dom0:7-4');
  await qvmUsb('-a', 'netvm', 'dom0:7-4');
  assert.match((await listed()).join('\n'), /^dom0:7-4\t.* \(attached to netvm:0-1\)$/m);
  await qvmUsb('-a', '--no-auto-detach', 'netvm', 'dom0:7-5');
});

test('of two that take a device at once with --no-auto-detach, one gets it and the other is refused', async () => {
  await qvmUsb('-d', 'dom0:7-4');
  const runs = await Promise.all(
    ['netvm', 'qdvp'].map((vm) => stage.run('qvm-usb', '-a', '--no-auto-detach', vm, 'dom0:7-4')),
  );
  assert.deepEqual(runs.map(({ status }) => status).sort(), [0, 1], runs.map(({ stderr }) => stderr).join(''));
});

test('a device that was in a VM which has shut down is in nobody’s way', async () => {
  await qvmUsb('-a', 'qdvp', 'dom0:7-4');
  await stage.usher('vm', 'shutdown', 'qdvp');
  await qvmUsb('-a', '--no-auto-detach', 'netvm', 'dom0:7-4');
  await stage.usher('vm', 'start', 'qdvp');
  await qvmUsb('-a', 'qdvp', 'dom0:7-4');
});

test('statuses: 2 for what is not there, 0 with a warning for what is not attached, 1 for a guarded device', async () => {
  for (const words of [
    ['-a', 'nobody', 'dom0:1-1'],
    ['-a', 'netvm', 'dom0:9-9'],
    ['-d', 'dom0:9-9'],
    ['-a', 'netvm'],
  ]) {
    const { status, stderr } = await stage.run('qvm-usb', ...words);
    assert.equal(status, 2, words.join(' '));
    assert.match(stderr, /^qvm-usb: error: /);
  }
  const idle = await stage.run('qvm-usb', '-d', 'dom0:1-1');
  assert.deepEqual([idle.status, idle.stdout], [0, '']);
  assert.match(idle.stderr, /warning/);
  assert.match((await stage.run('qvm-usb', '-a', 'netvm', 'dom0:7-1')).stderr, /^ERROR: .* is never given to a VM/);
});

test('the verbs: assign, list -s, attach, detach, unassign, info', async () => {
  await qvmUsb('assign', '--device', 'qdvp', 'dom0:1-1');
  const [assignment] = (await qvmUsb('list', '-s', 'dom0')).split('\n');
  assert.match(
    assignment ?? '',
    /^dom0:1-1 +Microsoft Basic Optical Mouse +qdvp \(attached\), \*qdvp \(auto-attach: 045e:0084::030102\)$/,
  );
  await qvmUsb('attach', 'netvm', 'dom0:1-1');
  assert.match(await qvmUsb('info', 'dom0:1-1'), /^ {2}state +attached netvm 0-\d$/m);
  await qvmUsb('detach', 'netvm');
  assert.doesNotMatch((await listed()).join('\n'), /netvm/);
  await qvmUsb('unassign', 'qdvp', 'dom0:1-1');
  assert.equal((await stage.ask<object[]>('usb', 'assignments')).length, 0);
});

test('without a daemon it says so, with status 1, and completes nothing', async () => {
  const elsewhere = stage.at(join(stage.home, 'nothing-here'));
  Object.assign(elsewhere.env, { USHER_HOME: elsewhere.home });
  const { status, stderr } = await elsewhere.run('qvm-usb', '-l');
  assert.equal(status, 1);
  assert.match(stderr, /^ERROR: No daemon answers/);
  assert.equal((await elsewhere.run('qvm-usb', '__complete', 'attach', '')).stdout, '');
  assert.equal((await stage.run('qvm-usb', '__complete', 'attach', '')).stdout, 'netvm\nqdvp\n');
});

async function listed(): Promise<string[]> {
  return (await qvmUsb('-l')).trimEnd().split('\n');
}

/** Runs a line that works and gives what it printed. */
async function qvmUsb(...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await stage.run('qvm-usb', ...words);
  assert.deepEqual([status, stderr], [0, ''], `qvm-usb ${words.join(' ')}`);
  return stdout;
}
