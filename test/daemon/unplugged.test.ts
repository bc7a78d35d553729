/** Devices that are pulled while a VM has them and cannot give them back, and assigned ones that are not plugged. Simulated. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { AssignmentView, AuditView, DeviceView } from '../../src/api/views.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

const STICK = { vendorId: '0951', productId: '1666', interfaces: ['080650'] };
/** So many tries fail that the next one is eight seconds away: what happens in that time, a command did. */
const TRIES = 5;

let stage: Stage;
let world: WorldProcess;
let hand: WorldClient;
let assigned: AssignmentView;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  hand = new WorldClient(world.socket);
  await stage.startDaemon({ USHER_SIMULATOR_WORLD: world.socket });
  const file = join(stage.home, 'work.cfg');
  await writeFile(file, 'name = work\ndriver = simulator\nmemory = 64\nusbctrl = version=2,ports=6\n');
  await stage.usher('vm', 'create', file);
  await stage.usher('vm', 'start', 'work');
  assigned = await stage.ask<AssignmentView>('usb', 'assign', 'work', 'dom0:1-1', '--auto');
});
after(async () => {
  await hand.close();
  await stage.strike();
  await world.stop();
});

test('what was pulled and could not leave its VM is listed with its port, and a command takes it out of there', async () => {
  await plug('1-1');
  await plug('1-2');
  await stage.usher('usb', 'attach', 'work', 'dom0:1-2');
  await pollUntil({ what: 'The assigned one', timeoutMs: 5000, everyMs: 20 }, async () =>
    (await row('dom0:1-1'))?.state === 'attached' ? true : undefined,
  );
  const ports = [(await row('dom0:1-1'))?.slot, (await row('dom0:1-2'))?.slot];
  const tried = await pullInVain(TRIES, '1-1', '1-2');

  assert.deepEqual(
    [await row('dom0:1-1'), await row('dom0:1-2')].map((one) => [one?.state, one?.vm, one?.slot]),
    [
      ['gone', 'work', ports[0]],
      ['gone', 'work', ports[1]],
    ],
  );
  const { stdout: old } = await stage.run('qvm-usb', '-l');
  assert.match(old, new RegExp(`^dom0:1-1\t.*\\(attached to work:${ports[0]}\\)$`, 'm'));

  await tried();
  const byUsher = await stage.ask<DeviceView>('usb', 'detach', 'dom0:1-1');
  assert.deepEqual([byUsher.state, byUsher.why], ['unplugged', 'it was unplugged, and the VM has let it go']);
  const byQvm = await stage.run('qvm-usb', '-d', `work:${ports[1]}`);
  assert.deepEqual([byQvm.status, byQvm.stderr], [0, '']);
  assert.equal(await row('dom0:1-2'), undefined);
});

test('what is assigned and not plugged is listed as waiting, with its assignment', async () => {
  await stage.usher('usb', 'assign', 'work', '0951:1667:S1', '--auto');
  await stage.usher('usb', 'assign', 'work', 'dom0:7-*', '--auto');
  const absent = (await stage.ask<DeviceView[]>('usb', 'list')).filter(({ isAbsent }) => isAbsent === true);
  assert.deepEqual(
    absent.map(({ device, state, vm, assignment }) => [device, state, vm, assignment]),
    [
      ['dom0:1-1', 'waiting', 'work', assigned.id],
      ['0951:1667:S1:*', 'waiting', 'work', assigned.id + 1],
    ],
  );
  const shown = await stage.usher('usb', 'list');
  assert.match(shown, /^dom0:1-1 .*waiting \(absent\) +work +it is not plugged/m);
});

test('to detach it says that it is in no VM; what nobody expects is not found', async () => {
  const { state, why } = await stage.ask<DeviceView>('usb', 'detach', 'dom0:1-1');
  assert.equal(state, 'waiting');
  assert.match(why, new RegExp(`^it is in no VM; .*usher usb unassign ${assigned.id}$`));
  assert.equal((await stage.run('usher', 'usb', 'detach', 'dom0:1-2')).status, 4);
});

test('plugged again it is one row, and attached; what cannot be taken out says why', async () => {
  await plug('1-1');
  await pollUntil({ what: 'The device', timeoutMs: 5000, everyMs: 20 }, async () =>
    (await row('dom0:1-1'))?.state === 'attached' ? true : undefined,
  );
  const rows = await stage.ask<DeviceView[]>('usb', 'list');
  assert.deepEqual(
    rows.filter(({ device }) => device === 'dom0:1-1').map(({ isAbsent }) => isAbsent),
    [undefined],
  );
  await pullInVain(1000, '1-1');
  const { stdout } = await stage.run('usher', 'usb', 'detach', 'dom0:1-1', '--dry-run');
  assert.match(stdout, /^dom0:1-1 was unplugged, and would leave VM work/);
  const { status, stderr } = await stage.run('usher', 'usb', 'detach', 'dom0:1-1');
  assert.equal(status, 1);
  assert.match(stderr, /dom0:1-1 .*work.*it does not let go/);
  await hand.call('calm', {});
});

test('a device that changes its id stays out as a person said, and the trail tells how', async () => {
  const rule = 'rules:\n  - match: { switches: [12d1:1f01, 12d1:14db] }\n    attach: work\n';
  await writeFile(join(stage.home, 'policy.yaml'), rule);
  await stage.usher('policy', 'load');
  await hand.call('plug', { busid: '2-1', vendorId: '12d1', productId: '1f01', interfaces: ['080650'] });
  await pollUntil({ what: 'The modem', timeoutMs: 5000, everyMs: 20 }, async () =>
    (await row('dom0:2-1'))?.state === 'attached' ? true : undefined,
  );
  await stage.usher('usb', 'detach', 'dom0:2-1');
  await hand.call('unplug', { backend: 'dom0', busid: '2-1' });
  await hand.call('plug', { busid: '2-1', vendorId: '12d1', productId: '14db', interfaces: ['020600'] });
  const carried = await pollUntil({ what: 'The hold', timeoutMs: 5000, everyMs: 20 }, async () => {
    const rows = await stage.ask<AuditView[]>('audit', 'list', '--device', 'dom0:2-1');
    return rows.find(({ action, kind }) => action === 'step.carry_hold' && kind === 'outcome');
  });
  assert.equal(carried.outcome, 'ok');
  const now = await row('dom0:2-1');
  assert.deepEqual([now?.deviceId, now?.state], ['12d1:14db::020600', 'left']);
  assert.match(now?.why ?? '', /detached by hand/);
});

async function plug(busid: string): Promise<void> {
  await hand.call('plug', { busid, ...STICK, serial: busid });
}

/**
 * Pulls devices that the VM does not let go of for the next few times; resolves when they are gone, and gives what waits until
 * the daemon has tried often enough.
 */
async function pullInVain(times: number, ...busids: readonly string[]): Promise<() => Promise<void>> {
  const before = (await hand.call('journal', {})).length;
  const devices = busids.map((busid) => `dom0:${busid}`);
  for (const device of devices) {
    const details = { device, vm: 'work', what: 'it does not let go' };
    const trouble = { do: 'fail', code: 'usb.detach_failed', details } as const;
    await hand.call('disturb', { method: 'detachDevice', device, trouble, times });
  }
  for (const busid of busids) await hand.call('unplug', { backend: 'dom0', busid });
  const tries = async (device: string) => {
    const calls = (await hand.call('journal', {})).slice(before);
    return calls.filter((call) => call.method === 'detachDevice' && call.device === device).length;
  };
  const reach = (least: number) =>
    pollUntil({ what: `${least} tries`, timeoutMs: 30_000, everyMs: 20 }, async () => {
      for (const device of devices) if ((await tries(device)) < least) return undefined;
      return true;
    });
  await reach(1);
  return async () => {
    await reach(Math.min(times, TRIES));
  };
}

async function row(device: string): Promise<DeviceView | undefined> {
  return (await stage.ask<DeviceView[]>('usb', 'list')).find((one) => one.device === device);
}
