/** The daemon's life with simulated VMs: deaths and their policies, restarts of the daemon, sockets, events, startup. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { Client } from '../../src/api/client.ts';
import type { AuditView, DeviceView, VmDetails } from '../../src/api/views.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import type { GuestAction, GuestState } from '../../src/hypervisor/simulator/world-port.ts';
import { Inventory } from '../../src/inventory/inventory.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import type { UsherEvent } from '../../src/model/event.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

let stage: Stage;
let world: WorldProcess;
let hand: WorldClient;
let env: NodeJS.ProcessEnv;
let made = 0;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  hand = new WorldClient(world.socket);
  env = { USHER_SIMULATOR_WORLD: world.socket };
  await writeFile(join(stage.home, 'usherd.yaml'), 'restartIntervalSeconds: 0\nmaxRestarts: 3\n');
});
beforeEach(async () => {
  if (stage.daemonPid === undefined) await stage.startDaemon(env);
});
after(async () => {
  await hand.close();
  await stage.strike();
  await world.stop();
});

for (const [action, policy, becomes] of [
  ['powerOff', 'on_halt = destroy', 'halted'],
  ['powerOff', 'on_halt = restart', 'running'],
  ['reboot', 'on_reboot = restart', 'running'],
  ['reboot', 'on_reboot = destroy', 'halted'],
  ['panic', 'on_crash = destroy', 'halted'],
  ['panic', 'on_crash = restart', 'running'],
  ['panic', 'on_crash = preserve', 'crashed'],
  ['kill', 'on_crash = restart', 'running'],
] as const) {
  test(`a guest that does ${action} with ${policy} is then ${becomes}, its device with it`, async () => {
    const vm = await makeVm([policy]);
    const device = await plugFor(vm);
    const { handle } = await vm.start();
    await act(vm, action);
    await vm.becomes(becomes, handle);
    await pollUntil({ what: 'The device', timeoutMs: 5000, everyMs: 20 }, async () => {
      const { state } = await deviceOf(device);
      return state === (becomes === 'running' ? 'attached' : 'waiting') ? true : undefined;
    });
  });

  test(`the same while the daemon is away: ${action}, ${policy}`, async () => {
    const vm = await makeVm([policy]);
    const { handle } = await vm.start();
    await stage.endDaemon('SIGKILL');
    await act(vm, action);
    await stage.startDaemon(env);
    await vm.becomes(becomes, handle);
  });
}

test('a guest that crashes again and again is given up after so many restarts, and that is said', async () => {
  const vm = await makeVm(['on_crash = restart']);
  await vm.start();
  await pollUntil({ what: 'Giving up', timeoutMs: 15_000, everyMs: 10 }, async () => {
    await act(vm, 'panic').catch(() => undefined);
    return (await vm.details()).state === 'crashed' ? true : undefined;
  });
  assert.match((await vm.details()).warnings.join(' '), /started again 3 times/);
  await stage.usher('vm', 'start', vm.name);
  await vm.becomes('running');
});

test('running guests are adopted after SIGKILL and after SIGTERM, undisturbed, with their devices', async () => {
  const vm = await makeVm([]);
  const device = await plugFor(vm);
  const { handle } = await vm.start();
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    await stage.endDaemon(signal);
    await stage.startDaemon(env);
    const details = await vm.details();
    assert.equal(details.state, 'running');
    assert.equal(details.handle, handle);
    assert.deepEqual(
      details.attachments.map((attachment) => attachment.device),
      [device],
    );
  }
});

test('suspended, the daemon restarted, restored: the same guest with its device; the file is gone', async () => {
  const vm = await makeVm([]);
  const device = await plugFor(vm);
  await vm.start();
  const boot = await bootOf(vm);
  await stage.usher('vm', 'suspend', vm.name);
  assert.equal((await deviceOf(device)).state, 'waiting');
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);
  assert.equal((await vm.details()).state, 'suspended');
  await stage.usher('vm', 'restore', vm.name);
  assert.equal(await bootOf(vm), boot);
  assert.equal((await deviceOf(device)).state, 'attached');
  assert.equal((await vm.details()).suspendFile, undefined);
});

test('a VM that is removed leaves no remains, and nothing in the saves folder; a file of your own stays', async () => {
  const own = join(stage.home, 'own.save');
  const kept = await makeVm(['on_halt = preserve']);
  await kept.start();
  await act(kept, 'powerOff');
  await kept.becomes('halted');
  await stage.usher('vm', 'remove', kept.name);
  const isLeft = (await hand.call('list', {})).some(({ name }) => name === kept.name);
  assert.equal(isLeft, false, 'its dead domain went with it');

  const vm = await makeVm([]);
  await vm.start();
  await stage.usher('vm', 'checkpoint', vm.name, own);
  await stage.usher('vm', 'suspend', vm.name);
  const { suspendFile = '' } = await vm.details();
  const refused = await stage.try('vm', 'remove', vm.name);
  assert.equal(refused.status, 5);
  assert.match(refused.stderr, /usher vm destroy/);
  assert.doesNotMatch(refused.stderr, /shutdown/, 'which a suspended VM refuses');
  await stage.usher('vm', 'destroy', vm.name);
  assert.ok(existsSync(suspendFile));
  await stage.usher('vm', 'remove', vm.name);
  assert.deepEqual([existsSync(suspendFile), existsSync(own)], [false, true]);
});

test('a restore from a file that is cut off with the daemon is no cold boot, though a crash means restart', async () => {
  const vm = await makeVm(['on_crash = restart']);
  await vm.start();
  const file = join(stage.home, `${vm.name}.save`);
  await stage.usher('vm', 'checkpoint', vm.name, file);
  await stage.usher('vm', 'destroy', vm.name);
  await hand.call('disturb', { method: 'start', trouble: { do: 'hang' } });
  const restore = stage.try('vm', 'restore', vm.name, '--file', file, '--keep');
  await vm.becomes('restoring');
  await stage.endDaemon('SIGKILL');
  await restore;
  await stage.startDaemon(env);
  const { state, warnings } = await vm.details();
  // It may have been killed before it asked for the start. By now the world has seen that a start that hangs is given up.
  await hand.call('calm', {});
  assert.equal(state, 'halted');
  assert.match(warnings.join(), /restore was cut off/);
  await stage.usher('vm', 'restore', vm.name, '--file', file, '--keep');
  await vm.becomes('running');
});

test('startup: paused leaves it paused, and the word of the caller beats it', async () => {
  const vm = await makeVm(['startup = paused']);
  await stage.usher('vm', 'start', vm.name);
  assert.equal((await vm.details()).state, 'paused');
  await stage.usher('vm', 'unpause', vm.name);
  assert.equal((await vm.details()).state, 'running');
});

test('autostart: with the host, once for each boot, and not what says shutdown', async () => {
  const wanted = await makeVm([]);
  const unwanted = await makeVm(['startup = shutdown']);
  for (const vm of [wanted, unwanted]) await stage.usher('vm', 'set', vm.name, '--autostart', 'yes');
  await stage.endDaemon('SIGTERM');
  await stage.startDaemon(env);
  assert.equal((await wanted.details()).state, 'halted', 'the host has not booted since');
  await stage.endDaemon('SIGTERM');
  const inventory = new Inventory(join(stage.home, 'usher.db'), { defaultDriver: 'qemu' });
  inventory.noteBoot('a former boot');
  inventory.close();
  await stage.startDaemon(env);
  await wanted.becomes('running');
  assert.equal((await unwanted.details()).state, 'halted');
});

test('a save says how long the guest stood still; one over a disk without snapshots is refused, unless told to', async () => {
  const disk = join(stage.home, 'raw.img');
  await writeFile(disk, 'then');
  const vm = await makeVm([`disk = ${disk}:raw:hda:w:disk`]);
  await vm.start();
  const device = await plugFor(vm);
  const [file, { socket }] = [join(stage.home, 'disk.save'), await vm.details()];
  assert.match(await say(socket, `checkpoint file=${file}\n`), /^error vm\.save_failed .*raw\.img.*disks=ignore/);
  assert.equal((await deviceOf(device)).state, 'attached', 'it was refused before the device had to leave');
  const answer = await say(socket, `checkpoint file=${file} disks=ignore live=true\n`);
  assert.match(answer, /^stood still for \d+\.\d{3} s\nwarning: The file has the memory of VM \S+ alone[^\n]*\nok\n$/);
  assert.match(await stage.usher('vm', 'suspend', vm.name, '--live'), /stood still for \d/);
  await stage.usher('vm', 'destroy', vm.name);
  await writeFile(disk, 'later');
  const refused = await stage.try('vm', 'restore', vm.name, '--file', file);
  assert.deepEqual([refused.status, /has changed since/.test(refused.stderr)], [2, true], refused.stderr);
  await stage.usher('vm', 'restore', vm.name, '--file', file, '--ignore-disks');
  assert.deepEqual([(await vm.details()).state, existsSync(file)], ['running', false]);
});

test('the monitor socket takes text: status, pause, unpause, a refusal, help, quit', async () => {
  const vm = await makeVm([]);
  await vm.start();
  const { socket } = await vm.details();
  assert.equal(await say(socket, 'status\n'), 'running\nok\n');
  assert.equal(await say(socket, 'pause\nstatus\nunpause\n'), 'ok\npaused\nok\nok\n');
  assert.match(await say(socket, 'start\n'), /^error vm\.state "start" cannot be performed: VM \S+ is running/);
  assert.match(await say(socket, 'suspnd\n'), /^error usage .*"suspend"/);
  assert.match(await say(socket, 'help\n'), /^help [\s\S]*checkpoint file=PATH[\s\S]*\nok\n$/);
  assert.equal(await say(socket, 'quit\n'), 'ok\n');
  await assert.rejects(say(socket, 'status\n'));
  assert.equal((await vm.details()).state, 'running');
});

test('the monitor socket takes JSON-RPC too, and the trail says who it was', async () => {
  const vm = await makeVm([]);
  const { socket, uuid } = await vm.details();
  const request = { jsonrpc: '2.0', id: 7, method: 'vm.start', params: { vm: uuid } };
  const lines = (await say(socket, `${JSON.stringify(request)}\n`))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(lines.at(-1).id, 7);
  assert.equal(lines.at(-1).result.state, 'running');
  const rows = await stage.ask<AuditView[]>('audit', 'list', '--vm', vm.name);
  assert.equal(rows.find((row) => row.action === 'vm.start')?.actor.pid, process.pid);
});

test('a listener that resumes after the daemon was killed has missed nothing and hears nothing twice', async () => {
  const socket = join(stage.home, 'run/usher.sock');
  const heard: UsherEvent[] = [];
  const listen = async () => {
    const client = await Client.connect(socket, 'listener');
    const since =
      heard.at(-1)?.seq ?? (await client.call('events.follow', { isOnce: true, since: 0 }, () => undefined)).seq;
    await client.call('events.follow', { since }, (notice) => heard.push((notice as { event: UsherEvent }).event));
    return client;
  };
  const first = await listen();
  const vm = await makeVm([]);
  await vm.start();
  first.close();
  await stage.usher('vm', 'pause', vm.name);
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);
  const second = await listen();
  await stage.usher('vm', 'unpause', vm.name);
  await pollUntil({ what: 'The last event', timeoutMs: 5000, everyMs: 20 }, () => {
    return (
      heard.some((event) => event.kind === 'vm.state' && event.body.to === 'running' && event.body.why === 'unpause') ||
      undefined
    );
  });
  second.close();
  const numbers = heard.map((event) => event.seq);
  assert.deepEqual(
    numbers,
    numbers.map((_, i) => (numbers[0] ?? 0) + i),
    'a number is missing or came twice',
  );
  assert.ok(heard.some((event) => event.kind === 'vm.state' && event.body.to === 'paused'));
  assert.ok(heard.some((event) => event.kind === 'daemon.started'));
});

test('an attach that fails is told with its reason, tried again, and comes good', async () => {
  const vm = await makeVm([]);
  await vm.start();
  const device = await plugFor(vm);
  await stage.usher('usb', 'unplug', device);
  await hand.call('disturb', {
    method: 'attachDevice',
    trouble: { do: 'fail', code: 'usb.attach_failed', details: { device, vm: vm.name, what: 'it is wedged' } },
  });
  await stage.usher('usb', 'plug', '--at', device, '--kind', 'tablet');
  await pollUntil({ what: 'The second try', timeoutMs: 10_000, everyMs: 50 }, async () => {
    return (await deviceOf(device)).state === 'attached' || undefined;
  });
  const rows = await stage.ask<AuditView[]>('audit', 'list', '--device', device);
  assert.ok(rows.some((row) => row.outcome === 'failed' && JSON.stringify(row.details).includes('it is wedged')));
});

interface SimulatedVm {
  readonly name: string;
  start(): Promise<VmDetails>;
  details(): Promise<VmDetails>;
  /** Waits for a state; `notHandle`: of another domain than that. */
  becomes(state: string, notHandle?: number): Promise<void>;
}

async function makeVm(lines: readonly string[]): Promise<SimulatedVm> {
  const name = `vm${++made}`;
  const file = join(stage.home, `${name}.cfg`);
  await writeFile(file, [`name = ${name}`, 'driver = simulator', 'memory = 64', ...lines, ''].join('\n'));
  await stage.usher('vm', 'create', file);
  const details = () => stage.ask<VmDetails>('vm', 'show', name);
  return {
    name,
    details,
    async start() {
      await stage.usher('vm', 'start', name);
      return await details();
    },
    async becomes(state, notHandle) {
      await pollUntil({ what: `VM ${name} being ${state}`, timeoutMs: 15_000, everyMs: 20 }, async () => {
        const { state: now, handle } = await details();
        return now === state && (state !== 'running' || notHandle === undefined || handle !== notHandle)
          ? true
          : undefined;
      });
    },
  };
}

/** Plugs a device that is assigned to the VM; gives its key. */
async function plugFor(vm: SimulatedVm): Promise<string> {
  const device = `virtual:${(made % 200) + 1}-1`;
  await stage.usher('usb', 'assign', vm.name, device, '--auto');
  await stage.usher('usb', 'plug', '--at', device, '--kind', 'tablet');
  return device;
}

async function deviceOf(device: string): Promise<DeviceView> {
  const found = (await stage.ask<DeviceView[]>('usb', 'list')).find((row) => row.device === device);
  assert.ok(found, device);
  return found;
}

/** Has the guest do something, also while no daemon runs. */
async function act(vm: SimulatedVm, action: GuestAction): Promise<GuestState> {
  const domain = (await hand.call('list', {})).find(({ name }) => name === vm.name);
  assert.ok(domain, `VM ${vm.name} has no domain`);
  const guest = await hand.call('guest', { uuid: domain.uuid, action });
  return guest ?? { isReady: false, bootId: '', ticks: 0, usb: [] };
}

async function bootOf(vm: SimulatedVm): Promise<string> {
  return (await act(vm, 'look')).bootId;
}

/** Says lines to a monitor's socket and gives all that it answers until it hangs up. */
function say(path: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect({ path, allowHalfOpen: true }, () => {
      socket.write(text);
      setTimeout(() => socket.end(), 200);
    });
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    socket.on('error', reject);
    socket.on('end', () => {
      socket.end();
      resolve(answer);
    });
  });
}
