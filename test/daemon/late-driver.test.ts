/** A hypervisor that answers only after the daemon has started, as when the host has just booted: a simulated world. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { DeviceView, VmDetails, VmView } from '../../src/api/views.ts';
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
const DEVICE = 'virtual:3-1';

test('its VMs wait for it, what may be in them goes nowhere else, and then they are started with the host', async () => {
  await stage.startDaemon(env);
  for (const name of ['first', 'other']) {
    const file = join(stage.home, `${name}.cfg`);
    await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
    await stage.usher('vm', 'create', file);
    await stage.usher('usb', 'assign', name, DEVICE, '--auto');
  }
  await stage.usher('vm', 'set', 'first', '--autostart', 'yes');
  await stage.usher('usb', 'plug', '--at', DEVICE, '--kind', 'mouse');
  await stage.endDaemon('SIGTERM');
  await world.stop();
  const inventory = new Inventory(join(stage.home, 'usher.db'), { defaultDriver: 'qemu' });
  inventory.noteBoot('a former boot');
  inventory.close();

  await stage.startDaemon(env);
  const names = (await stage.ask<VmView[]>('vm', 'list')).map(({ name }) => name);
  assert.deepEqual(names, ['first', 'other']);
  const refused = await stage.try('vm', 'start', 'other');
  assert.match(refused.stderr, /the driver "simulator" of VM other does not answer/);
  const [device] = await stage.ask<DeviceView[]>('usb', 'list');
  assert.deepEqual([device?.state, device?.why], ['waiting', 'VM first cannot be observed']);

  world = await startWorld({ socket });
  await pollUntil({ what: 'The start with the host', timeoutMs: 15_000, everyMs: 50 }, async () => {
    const { state, attachments } = await stage.ask<VmDetails>('vm', 'show', 'first');
    return (state === 'running' && attachments.length === 1) || undefined;
  });
  assert.equal((await stage.ask<VmDetails>('vm', 'show', 'other')).state, 'halted');
});
