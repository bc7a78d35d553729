/** What `usher usb explain` proposes is done, command by command, with simulated VMs; and what cannot be done is said. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Client } from '../../src/api/client.ts';
import type { DeviceView, ExplainView, VmDetails } from '../../src/api/views.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import type { VmUuid } from '../../src/model/ids.ts';
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

/** Brings a device into a situation, and gives what will have to be undone. */
interface Situation {
  readonly device: string;
  readonly vms: readonly string[];
}
const SITUATIONS: Readonly<Record<string, () => Promise<Situation>>> = {
  'a free device, a VM that runs and one that is full': async () => {
    const device = nextDevice();
    const free = await makeVm([]);
    const full = await makeVm(['usbctrl = version=3,ports=1']);
    for (const vm of [free, full]) await start(vm);
    const other = await plugFor(full);
    await deviceIs(other, 'attached');
    await plug(device);
    return { device, vms: [free, full] };
  },
  'assigned by hand only, to a VM that is full and to one that is halted': async () => {
    const device = nextDevice();
    const full = await makeVm(['usbctrl = version=3,ports=1']);
    const halted = await makeVm([]);
    await start(full);
    await deviceIs(await plugFor(full), 'attached');
    for (const vm of [full, halted]) await stage.usher('usb', 'assign', vm, device);
    await plug(device);
    return { device, vms: [full, halted] };
  },
  'attached, and wanted by a VM that is halted and by one that runs': async () => {
    const device = nextDevice();
    const [winner, halted, running] = [await makeVm([]), await makeVm([]), await makeVm([])];
    for (const vm of [winner, running]) await start(vm);
    await stage.usher('usb', 'assign', winner, device, '--auto');
    for (const vm of [halted, running]) await stage.usher('usb', 'assign', vm, device.replace(/\d+$/, '*'), '--auto');
    await plug(device);
    await deviceIs(device, 'attached');
    return { device, vms: [winner, halted, running] };
  },
  'waiting for a VM that is halted': async () => {
    const vm = await makeVm([]);
    return { device: await plugFor(vm), vms: [vm] };
  },
  'waiting for a VM that is suspended': async () => {
    const vm = await makeVm([]);
    const device = await plugFor(vm);
    await start(vm);
    await stage.usher('vm', 'suspend', vm);
    return { device, vms: [vm] };
  },
  'waiting for a halted VM without a controller': async () => {
    const vm = await makeVm(['usbctrl = none']);
    return { device: await plugFor(vm), vms: [vm] };
  },
  'waiting for a halted VM with fewer ports than devices': async () => {
    const vm = await makeVm(['usbctrl = version=3,ports=1']);
    await plugFor(vm);
    const device = nextDevice();
    await stage.usher('usb', 'assign', vm, device, '--auto');
    await plug(device);
    return { device, vms: [vm] };
  },
  'detached by hand': async () => {
    const vm = await makeVm([]);
    await start(vm);
    const device = await plugFor(vm);
    await stage.usher('usb', 'detach', device);
    return { device, vms: [vm] };
  },
  'attached by hand': async () => {
    const [vm, owner] = [await makeVm([]), await makeVm([])];
    for (const one of [vm, owner]) await start(one);
    const device = await plugFor(owner);
    await stage.usher('usb', 'attach', vm, device);
    return { device, vms: [vm, owner] };
  },
  'one of twins': async () => {
    const vm = await makeVm([]);
    await start(vm);
    const [device, twin] = [nextDevice(), nextDevice()];
    for (const one of [device, twin]) await plug(one);
    return { device, vms: [vm] };
  },
};

for (const [name, bringAbout] of Object.entries(SITUATIONS)) {
  test(`each command that explain proposes is taken, and does what it says: ${name}`, async () => {
    for (let turn = 0, turns = 1; turn < turns; turn++) {
      const { device, vms } = await bringAbout();
      const { changes, state, vm } = await stage.ask<ExplainView>('usb', 'explain', device);
      turns = changes.length;
      const change = changes[turn];
      if (change?.command !== undefined) {
        await stage.usher(...change.command.split(' ').slice(1));
        assert.notEqual(change.gives, [state, vm].join(' ').trim(), change.command);
        await deviceIs(device, change.gives, change.command);
      }
      await undo(vms);
    }
  });
}

test('what was plugged a moment ago is found, on whichever connection', async () => {
  const socket = join(stage.home, 'run/usher.sock');
  const [one, other] = [await Client.connect(socket, 'test'), await Client.connect(socket, 'test')];
  const silent = () => undefined;
  for (let i = 0; i < 30; i++) {
    const [at, device] = [`virtual:60-${i + 1}`, `virtual:60-${i + 1}`];
    const plugged = one.call('usb.plug', { at, kind: 'mouse' }, silent);
    const explained = one.call('usb.explain', { device }, silent);
    assert.equal((await explained).device, device);
    const { state } = await (i % 2 === 0 ? one : other).call('usb.unplug', { device }, silent);
    assert.equal(state, 'unplugged');
    await plugged.catch(silent);
    const again = one.call('usb.plug', { at, kind: 'mouse' }, silent);
    await one.call('usb.unplug', { device }, silent);
    await again.catch(silent);
  }
  one.close();
  other.close();
  assert.ok(!(await stage.usher('usb', 'list')).includes('virtual:60-'));
});

test('a move out of a VM that does not answer fails with its cause, and nothing is held', async () => {
  const [from, to] = [await makeVm([]), await makeVm([])];
  for (const vm of [from, to]) await start(vm);
  const device = await plugFor(from);
  await deviceIs(device, 'attached');
  const { uuid } = await stage.ask<VmDetails>('vm', 'show', from);
  await hand.call('disturb', { method: 'find', uuid: uuid as VmUuid, trouble: { do: 'hang' }, times: 1000 });
  const { status, stderr } = await stage.try('usb', 'attach', to, device);
  assert.notEqual(status, 0);
  assert.match(stderr, new RegExp(`${device} could not be attached to VM ${to}: VM ${from} cannot be observed`));
  assert.ok(!(await stage.usher('usb', 'holds')).includes(device));
  assert.match(await stage.usher('usb', 'list'), /it is stuck: VM \S+ cannot be observed/);
  await stage.usher('usb', 'reconcile');
  await hand.call('calm', {});
  await stage.usher('usb', 'reconcile');
  await deviceIs(device, `attached ${from}`);
});

/** Waits until the device is `attached`, `attached work`, `left`. */
async function deviceIs(device: string, gives: string, why = gives): Promise<void> {
  let seen = '';
  await pollUntil({ what: `"${why}": ${device} being ${gives}`, timeoutMs: 5000, everyMs: 20 }, async () => {
    const { state, vm } = await deviceOf(device);
    seen = [state, vm].filter((word) => word !== undefined).join(' ');
    return seen === gives || state === gives || undefined;
  }).catch((error: unknown) => assert.fail(`${String(error)} It is ${seen}.`));
}

/** Takes away what the next turn would stumble over: the VMs with their wishes, and everything that is plugged. */
async function undo(vms: readonly string[]): Promise<void> {
  for (const name of vms) {
    await stage.usher('vm', 'destroy', name);
    await stage.usher('vm', 'remove', name);
  }
  for (const { device } of await stage.ask<DeviceView[]>('usb', 'list')) await stage.usher('usb', 'unplug', device);
}

let places = 0;

function nextDevice(): string {
  return `virtual:50-${++places}`;
}

async function plug(device: string): Promise<void> {
  await stage.usher('usb', 'plug', '--at', device, '--kind', 'mouse', '--serial', 'EX');
}

/** Makes a simulated VM that is halted; gives its name. */
async function makeVm(lines: readonly string[]): Promise<string> {
  const name = `vm${++made}`;
  const file = join(stage.home, `${name}.cfg`);
  await writeFile(file, [`name = ${name}`, 'driver = simulator', 'memory = 64', ...lines, ''].join('\n'));
  await stage.usher('vm', 'create', file);
  return name;
}

async function start(vm: string): Promise<void> {
  await stage.usher('vm', 'start', vm);
}

/** Plugs a device that is assigned to the VM; gives its key. */
async function plugFor(vm: string): Promise<string> {
  const device = nextDevice();
  await stage.usher('usb', 'assign', vm, device, '--auto');
  await plug(device);
  return device;
}

async function deviceOf(device: string): Promise<DeviceView> {
  const found = (await stage.ask<DeviceView[]>('usb', 'list')).find((row) => row.device === device);
  assert.ok(found, device);
  return found;
}
