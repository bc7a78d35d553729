/** Virtual controllers that come when they are needed and go with the device model, as a person sees it: simulated VMs. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { AuditView, DeviceView, DoctorReport, ExplainView, VmDetails } from '../../src/api/views.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import type { EventBody, EventKind, UsherEvent } from '../../src/model/event.ts';
import type { VmUuid } from '../../src/model/ids.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

let stage: Stage;
let world: WorldProcess;
let hand: WorldClient;
let made = 0;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock'), maxControllers: 2 });
  hand = new WorldClient(world.socket);
  await stage.startDaemon({ USHER_SIMULATOR_WORLD: world.socket });
});
after(async () => {
  await hand.close();
  await stage.strike();
  await world.stop();
});

test('a VM gets one more controller when a device finds no port, and that is told and written down', async () => {
  const vm = await startVm(['usbctrl = version=3,ports=1']);
  const first = await plugFor(vm);
  await deviceIs(first, 'attached');
  const second = await plugFor(vm);
  await deviceIs(second, 'attached');
  assert.equal((await deviceOf(second)).slot, '1-1');
  assert.deepEqual(
    (await details(vm)).controllers.map(({ index, ports }) => [index, ports]),
    [
      [0, 1],
      [1, 8],
    ],
  );
  const [event] = await eventsOf(vm, 'usb.controller_added');
  assert.deepEqual([event?.controller, event?.version, event?.ports], [1, 3, 8]);
  assert.equal(event?.why, `${second} belongs there, and VM ${vm} has no free port for it`);
  const rows = await stage.ask<AuditView[]>('audit', 'list', '--vm', vm);
  const intent = rows.find(({ action, kind }) => action === 'step.add_controller' && kind === 'intent');
  assert.ok(intent);
  assert.equal(rows.find((row) => row.intent === intent.row)?.outcome, 'ok');
});

test('by hand it is waited for; one that cannot be added is said, and so is a port that cannot be', async () => {
  const vm = await startVm(['usbctrl = none']);
  const device = await plug();
  const noPort = await stage.try('usb', 'attach', vm, device, '--port', '0-1');
  assert.match(noPort.stderr, /has no port 0-1/);
  const { uuid } = await details(vm);
  const trouble = { do: 'fail', code: 'usb.controller_failed', details: { what: 'no slot is left' } } as const;
  await hand.call('disturb', { method: 'addController', uuid: uuid as VmUuid, trouble });
  const { status, stderr } = await stage.try('usb', 'attach', vm, device);
  assert.equal(status, 5);
  assert.match(stderr, /has no USB controller that fits .*: VM \S+ has no USB controller, and one more .*: no slot is/);
  assert.deepEqual((await details(vm)).controllers, []);
  await stage.usher('usb', 'attach', vm, device);
  assert.equal((await deviceOf(device)).slot, '0-1');
  const [warning] = await eventsOf(vm, 'vm.warning');
  assert.equal(warning?.message, `VM ${vm} could not be given one more USB controller: no slot is left.`);
});

test('a VM that has lost its device model says so everywhere, and its devices come back with a new one', async () => {
  const vm = await startVm([]);
  const device = await plugFor(vm);
  await deviceIs(device, 'attached');
  const uuid = (await details(vm)).uuid as VmUuid;
  await hand.call('deviceModel', { uuid, isGone: true });
  await deviceIs(device, 'waiting');
  assert.match((await deviceOf(device)).why, /device model is gone/);
  assert.match((await details(vm)).usbTrouble ?? '', /device model is gone/);
  const { findings } = await stage.ask<DoctorReport>('doctor');
  assert.equal(findings.find(({ subject }) => subject === `VM ${vm}`)?.advice, `usher vm restart ${vm}`);
  for (const words of [[], ['--port', '0-1']]) {
    const byHand = await stage.try('usb', 'attach', vm, device, ...words);
    assert.match(byHand.stderr, /could not be attached to VM \S+: its device model is gone/);
  }
  const { changes } = await stage.ask<ExplainView>('usb', 'explain', device);
  assert.deepEqual(changes[0], {
    says: `Restart VM ${vm}`,
    command: `usher vm restart ${vm}`,
    gives: `attached ${vm}`,
  });

  await hand.call('deviceModel', { uuid, isGone: false });
  await deviceIs(device, 'attached');
  await hand.call('deviceModel', { uuid, isGone: true });
  await deviceIs(device, 'waiting');
  await stage.usher('vm', 'restart', vm);
  await deviceIs(device, 'attached');
  const told = await eventsOf(vm, 'vm.usb_trouble');
  assert.deepEqual(
    told.map(({ isOver }) => isOver),
    [false, true, false, true],
  );
  assert.equal((await details(vm)).usbTrouble, undefined);
});

async function startVm(lines: readonly string[]): Promise<string> {
  const name = `vm${++made}`;
  const file = join(stage.home, `${name}.cfg`);
  await writeFile(file, [`name = ${name}`, 'driver = simulator', 'memory = 64', ...lines, ''].join('\n'));
  await stage.usher('vm', 'create', file);
  await stage.usher('vm', 'start', name);
  return name;
}

function details(vm: string): Promise<VmDetails> {
  return stage.ask<VmDetails>('vm', 'show', vm);
}

async function plug(device = `virtual:60-${++made}`): Promise<string> {
  await stage.usher('usb', 'plug', '--at', device, '--kind', 'mouse', '--serial', device.replace(':', '-'));
  return device;
}

/** Plugs a device that is assigned to the VM; gives its key. */
async function plugFor(vm: string): Promise<string> {
  const device = `virtual:60-${++made}`;
  await stage.usher('usb', 'assign', vm, device, '--auto');
  return await plug(device);
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

/** Gives what was told of a VM, oldest first. */
async function eventsOf<K extends EventKind>(vm: string, kind: K): Promise<EventBody[K][]> {
  const lines = (await stage.usher('events', '--once', '--json')).split('\n');
  const events = lines.map((line) => JSON.parse(line) as UsherEvent).filter((event) => event.kind === kind);
  return events.map(({ body }) => body as EventBody[K]).filter((body) => 'name' in body && body.name === vm);
}
