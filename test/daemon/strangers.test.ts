/** Domains and attachments that others made, as a person sees them: a simulated world that others use, too. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { AdoptView, DeviceView, VmDetails, VmView } from '../../src/api/views.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { newUuid } from '../../src/model/ids.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

let stage: Stage;
let world: WorldProcess;
let hand: WorldClient;
let made = 0;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  hand = new WorldClient(world.socket);
  await stage.startDaemon({ USHER_SIMULATOR_WORLD: world.socket });
});
after(async () => {
  await hand.close();
  await stage.strike();
  await world.stop();
});

test('a stranger is listed when all is asked for, and adopted as it runs, with what can be told of it', async () => {
  const { uuid, name, handle } = await startStranger({ vcpus: 2, cmdline: 'console=hvc0', serial: 'pty' });
  assert.deepEqual(await stage.ask<VmView[]>('vm', 'list'), []);
  const [row] = await stage.ask<VmView[]>('vm', 'list', '--all');
  assert.deepEqual(
    [row?.name, row?.uuid, row?.state, row?.handle, row?.isStranger],
    [name, uuid, 'running', handle, true],
  );
  assert.match(await stage.usher('vm', 'list', '--all'), new RegExp(`${name} +running +simulator, stranger +- +- +-`));
  assert.match((await stage.try('vm', 'show', name)).stderr, /no VM named/);

  const file = join(stage.home, 'adopted.vm');
  const adopted = await stage.ask<AdoptView>('vm', 'adopt', name, '--file', file);
  assert.match(adopted.warnings.join(' '), /lacks a serial port.* left to whoever made it/);
  const { state, vcpus, memoryMiB, onReboot, path, ...rest } = await stage.ask<VmDetails>('vm', 'show', name);
  assert.deepEqual([state, vcpus, memoryMiB, onReboot, path], ['running', 2, 64, 'preserve', file]);
  assert.equal(rest.handle, handle, 'the domain was not touched');
  const text = await readFile(file, 'utf8');
  assert.match(
    text,
    new RegExp(`^# Written by Usher[^\\n]*\\nuuid = ${uuid}\\nname = ${name}\\ndriver = simulator\\n`),
  );
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.deepEqual(
    (await stage.ask<VmView[]>('vm', 'list', '--all')).map(({ isStranger }) => isStranger),
    [undefined],
  );
  await stage.usher('vm', 'pause', name);
  assert.equal((await hand.call('find', { uuid }))?.run, 'paused');
  assert.equal((await stage.try('vm', 'adopt', name)).status, 5, 'it is in the inventory');
});

test('a stranger by uuid, with another name; what cannot be adopted is refused, and nothing is left', async () => {
  const { uuid } = await startStranger({ name: 'dom0' });
  const refused = await stage.try('vm', 'adopt', uuid);
  assert.match(refused.stderr, /"dom0" cannot be a VM name/);
  await startVm('taken');
  const taken = join(stage.home, 'taken.vm');
  await writeFile(taken, 'mine');
  assert.equal((await stage.try('vm', 'adopt', uuid, '--name', 'zero', '--file', taken)).status, 1);
  assert.equal(await readFile(taken, 'utf8'), 'mine');
  assert.equal((await stage.try('vm', 'adopt', uuid, '--name', 'taken', '--file', join(stage.home, 'x.vm'))).status, 5);
  assert.equal(existsSync(join(stage.home, 'x.vm')), false);
  assert.match((await stage.try('vm', 'adopt', 'nobody')).stderr, /usher vm list --all/);
  assert.match(await stage.usher('vm', 'adopt', uuid.toUpperCase(), '--name', 'zero'), /^adopted zero \(/);

  const dead = await startStranger({ onHalt: 'preserve' });
  await hand.call('guest', { uuid: dead.uuid, action: 'powerOff' });
  assert.match((await stage.try('vm', 'adopt', dead.name)).stderr, /is halted, expected running or paused/);
  assert.ok(await hand.call('find', { uuid: dead.uuid }), 'its remains are not ours to clear');
  const twins = [await startStranger({ name: 'twin' }), await startStranger({ name: 'twin' })];
  assert.match((await stage.try('vm', 'adopt', 'twin')).stderr, /names several domains: give the uuid/);
  for (const one of [...twins, dead]) await hand.call('destroy', { uuid: one.uuid });
});

test('what a config file cannot hold is left out, and said', async () => {
  const disk = { path: '/a\nb.img', format: 'raw', target: 'hda', isReadOnly: true, kind: 'disk' } as const;
  const { name } = await startStranger({ cmdline: 'quiet\non_crash = destroy', disks: [disk] });
  const adopted = await stage.ask<AdoptView>('vm', 'adopt', name);
  assert.match(adopted.warnings.join(' '), /lacks its cmdline \(control characters\) and its disks \(/);
  assert.equal((await stage.ask<VmDetails>('vm', 'show', name)).onCrash, 'preserve');
});

test("a stranger's device is said to be its, and is never taken", async () => {
  const { uuid, name } = await startStranger();
  const device = await hand.call('plug', { busid: '1-1', serial: 'S1' });
  const slot = { controller: 0, port: 1 };
  const attachment = await hand.call('attachDevice', { uuid, slot, device, isForeign: true });
  const vm = await startVm();
  await stage.usher('usb', 'assign', vm, 'dom0:1-1', '--auto');
  await deviceIs('dom0:1-1', 'waiting');
  const { why } = await deviceOf('dom0:1-1');
  assert.equal(why, `The device dom0:1-1 is attached to VM ${name}`);
  const byHand = await stage.try('usb', 'attach', vm, 'dom0:1-1');
  assert.match(byHand.stderr, new RegExp(`The device dom0:1-1 is attached to VM ${name}`));
  assert.deepEqual((await hand.call('find', { uuid }))?.attachments, [attachment]);
  await hand.call('destroy', { uuid });
  await stage.usher('usb', 'reconcile');
  await deviceIs('dom0:1-1', 'attached');
});

test('what others attach to a VM of ours stays there, and an adopted VM keeps what it has', async () => {
  const { uuid, name } = await startStranger();
  const device = await hand.call('plug', { busid: '1-2', serial: 'S2' });
  const slot = { controller: 0, port: 3 };
  await hand.call('attachDevice', { uuid, slot, device, isForeign: true });
  await stage.usher('vm', 'adopt', name);
  await stage.usher('usb', 'reconcile');
  const { state, why, vm } = await deviceOf('dom0:1-2');
  assert.deepEqual([state, vm, why], ['attached', name, 'attached by others than Usher']);
  await stage.usher('usb', 'detach', 'dom0:1-2');
  assert.equal((await deviceOf('dom0:1-2')).state, 'left');
});

async function startStranger(more: Partial<VmConfig> = {}) {
  const name = `stranger${++made}`;
  const base = { uuid: newUuid(), name, driver: 'simulator', memoryMiB: 64, vcpus: 1, disks: [] } as const;
  const deaths = { onCrash: 'destroy', onHalt: 'destroy', onReboot: 'restart' } as const;
  const usbControllers = [{ type: 'auto', version: 3, ports: 4 }] as const;
  const config: VmConfig = { ...base, startup: { do: 'started' }, ...deaths, usbControllers, ...more };
  return await hand.call('start', { config, isPaused: false });
}

async function startVm(name = `vm${++made}`): Promise<string> {
  const file = join(stage.home, `${name}.cfg`);
  await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
  await stage.usher('vm', 'create', file);
  await stage.usher('vm', 'start', name);
  return name;
}

async function deviceOf(device: string): Promise<DeviceView> {
  const found = (await stage.ask<DeviceView[]>('usb', 'list')).find((row) => row.device === device);
  assert.ok(found, device);
  return found;
}

async function deviceIs(device: string, state: string): Promise<void> {
  await pollUntil({ what: `${device} being ${state}`, timeoutMs: 10_000, everyMs: 20 }, async () => {
    return (await deviceOf(device)).state === state || undefined;
  });
}
