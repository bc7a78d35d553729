/** The host has just booted: what holds, what is started, and a hypervisor that answers late. A simulated world. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { AuditView, DeviceView, VmDetails, VmView } from '../../src/api/views.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { Inventory } from '../../src/inventory/inventory.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { startWorld } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

const stage = await Stage.set();
const socket = join(stage.home, 'world.sock');
let world = await startWorld({ socket });
after(async () => {
  await stage.strike();
  await world.stop();
});
const env = { USHER_SIMULATOR_WORLD: socket };

test('after a boot of the host assignments hold, and those VMs come up that are marked', async () => {
  await stage.startDaemon(env);
  for (const name of ['marked', 'crashing', 'plain']) await makeVm(name, ['on_crash = restart']);
  await stage.usher('vm', 'set', 'marked', '--autostart', 'yes');
  for (const name of ['marked', 'crashing']) await stage.usher('vm', 'start', name);
  await stage.usher('usb', 'assign', 'marked', 'dom0:2-1', '--auto');
  await plugStick();
  await isAttached('marked');

  await reboot();
  await stage.startDaemon(env);
  await plugStick();
  await isAttached('marked');
  const states = Object.fromEntries((await stage.ask<VmView[]>('vm', 'list')).map(({ name, state }) => [name, state]));
  assert.deepEqual(states, { marked: 'running', crashing: 'halted', plain: 'halted' }, 'a boot is no crash');
  const start = (await stage.ask<AuditView[]>('audit', 'list', '--vm', 'marked')).findLast(
    ({ action, kind }) => action === 'vm.start' && kind === 'intent',
  );
  assert.deepEqual([start?.actor.user, start?.because?.by], ['usher', 'autostart'], 'the trail says who started it');
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);
  assert.equal((await stage.ask<VmDetails>('vm', 'show', 'plain')).state, 'halted');
  for (const name of ['marked', 'crashing', 'plain']) {
    await stage.usher('vm', 'destroy', name);
    await stage.usher('vm', 'remove', name);
  }
});

test('a hypervisor that answers late: its VMs wait, what may be in them goes nowhere else, then all is as ever', async () => {
  const device = 'virtual:3-1';
  for (const name of ['first', 'other']) {
    await makeVm(name);
    await stage.usher('usb', 'assign', name, device, '--auto');
  }
  await stage.usher('vm', 'set', 'first', '--autostart', 'yes');
  await stage.usher('usb', 'plug', '--at', device, '--kind', 'mouse');
  await reboot();
  await world.stop();

  await stage.startDaemon(env);
  const names = (await stage.ask<VmView[]>('vm', 'list')).map(({ name }) => name);
  assert.deepEqual(names, ['first', 'other']);
  const refused = await stage.try('vm', 'start', 'other');
  assert.match(refused.stderr, /the driver "simulator" of VM other does not answer/);
  const [view] = await stage.ask<DeviceView[]>('usb', 'list');
  assert.deepEqual([view?.state, view?.why], ['waiting', 'VM first cannot be observed']);

  world = await startWorld({ socket });
  await isAttached('first');
  assert.equal((await stage.ask<VmDetails>('vm', 'show', 'other')).state, 'halted');
});

/** Has the host boot anew, without a daemon so far: its domains are gone, and the inventory knows of a former boot only. */
async function reboot(): Promise<void> {
  await stage.endDaemon('SIGKILL');
  await world.stop();
  world = await startWorld({ socket });
  const inventory = new Inventory(join(stage.home, 'usher.db'), { defaultDriver: 'qemu' });
  inventory.noteBoot('a former boot');
  for (const { uuid } of inventory.listVms()) {
    const power = inventory.powerRecordOf(uuid);
    power.write({ ...power.read(), wantedBoot: 'a former boot' });
  }
  inventory.close();
}

async function makeVm(name: string, lines: readonly string[] = []): Promise<void> {
  const file = join(stage.home, `${name}.cfg`);
  await writeFile(file, [`name = ${name}`, 'driver = simulator', 'memory = 64', ...lines, ''].join('\n'));
  await stage.usher('vm', 'create', file);
}

async function plugStick(): Promise<void> {
  const hand = new WorldClient(socket);
  await hand.call('plug', { busid: '2-1', serial: 'S1' });
  await hand.close();
}

/** Waits until the VM runs and has one device. */
async function isAttached(vm: string): Promise<void> {
  await pollUntil({ what: `VM ${vm} having its device`, timeoutMs: 15_000, everyMs: 50 }, async () => {
    const { state, attachments } = await stage.ask<VmDetails>('vm', 'show', vm);
    return (state === 'running' && attachments.length === 1) || undefined;
  });
}
