/** Assignments by location, with a daemon and a simulated host whose devices have one: twins, and buses that are numbered anew. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { AssignmentView, DeviceView, ExplainView } from '../../src/api/views.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

const [HERE, THERE] = ['0000:00:14.0/1.4', '0000:05:00.0/2'];
let stage: Stage;
let world: WorldProcess;
let hand: WorldClient;
let env: NodeJS.ProcessEnv;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  hand = new WorldClient(world.socket);
  env = { USHER_SIMULATOR_WORLD: world.socket };
  await stage.startDaemon(env);
  for (const name of ['work', 'play']) {
    const file = join(stage.home, `${name}.cfg`);
    await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
    await stage.usher('vm', 'create', file);
    await stage.usher('vm', 'start', name);
  }
});
after(async () => {
  await hand.close();
  await stage.strike();
  await world.stop();
});

/** Two devices of one id, told apart by nothing but where they are. */
beforeEach(async () => {
  for (const { id } of await stage.ask<AssignmentView[]>('usb', 'assignments')) {
    await stage.usher('usb', 'unassign', String(id));
  }
  for (const busid of ['1-1.4', '2-2', '3-1.4', '4-2']) {
    await hand.call('unplug', { backend: 'dom0', busid }).catch(() => undefined);
  }
  await stage.usher('usb', 'reconcile');
  await plug('1-1.4', HERE);
  await plug('2-2', THERE);
  for (const device of ['dom0:1-1.4', 'dom0:2-2']) await is(device, 'left');
});

test('an assignment by location outlasts a renumbering of the buses and the daemon', async () => {
  const said = await stage.usher('usb', 'assign', 'work', 'dom0:1-1.4', '--by-location', '--auto');
  assert.match(said, new RegExp(`: dom0:${HERE} to work, auto; matches dom0:1-1\\.4$`));
  await is('dom0:1-1.4', 'attached work');
  await is('dom0:2-2', 'left');

  for (const busid of ['1-1.4', '2-2']) await hand.call('unplug', { backend: 'dom0', busid });
  const absent = await pollUntil({ what: 'The device being absent', timeoutMs: 5000, everyMs: 20 }, async () =>
    (await stage.ask<DeviceView[]>('usb', 'list')).find(({ isAbsent }) => isAbsent === true),
  );
  assert.deepEqual([absent.device, absent.state, absent.vm], [`dom0:${HERE}`, 'waiting', 'work']);
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);

  await plug('3-1.4', HERE);
  await plug('4-2', THERE);
  await is('dom0:3-1.4', 'attached work');
  await is('dom0:4-2', 'left');
  const rows = await stage.ask<DeviceView[]>('usb', 'list');
  assert.deepEqual(
    rows.map(({ device, location, isAbsent }) => [device, location, isAbsent]).sort(),
    [
      ['dom0:3-1.4', HERE, undefined],
      ['dom0:4-2', THERE, undefined],
    ],
    'nothing is absent any more',
  );
});

test('where devices are is shown, and twins are named with their locations', async () => {
  await stage.usher('usb', 'assign', 'work', `dom0:${HERE}:0951:1666`, '--auto');
  await is('dom0:1-1.4', 'attached work');
  const { because, twins, location } = await stage.ask<ExplainView>('usb', 'explain', 'dom0:1-1.4');
  assert.equal(location, HERE);
  assert.deepEqual(twins, [{ device: 'dom0:2-2', location: THERE }]);
  assert.deepEqual(because.slice(1), [
    `Assignment ${await onlyAssignment()} (dom0:${HERE}:0951:1666:*:*) gives it to VM work: it matches by location and device id.`,
    'The location is what its backend says: trusted. The device id is what the device says of itself.',
    `dom0:2-2 (location ${THERE}) has the same device id, and this one is in location ${HERE}: only their places tell them apart.`,
  ]);
  const told = await stage.usher('usb', 'explain', 'dom0:1-1.4');
  assert.match(told, new RegExp(`^location ${HERE}$`, 'm'));
  assert.match(told, new RegExp(`^ {2}dom0:2-2 {2}location ${THERE}$`, 'm'));
  const list = await stage.usher('usb', 'list', '--locations');
  assert.match(list, /^DEVICE +LOCATION +DESCRIPTION/);
  assert.match(list, new RegExp(`^dom0:2-2 +${THERE} `, 'm'));
  const { stdout } = await stage.run('qvm-usb', 'info', 'dom0:2-2');
  assert.match(stdout, new RegExp(`^ {2}location {5}${THERE}$`, 'm'));
});

test('an answer about a twin is remembered by its location and its id', async () => {
  await stage.usher('usb', 'assign', 'work', `dom0:${HERE}`, '--ask');
  await is('dom0:1-1.4', 'asking');
  await stage.usher('usb', 'answer', 'dom0:1-1.4', 'work', '--remember');
  const assignments = await stage.ask<AssignmentView[]>('usb', 'assignments');
  assert.deepEqual(
    assignments.map(({ device, mode }) => [device, mode]),
    [
      [`dom0:${HERE}`, 'ask'],
      [`dom0:${HERE}:0951:1666:TWIN:080650`, 'auto'],
    ],
  );
});

test('qvm-usb assigns by location and takes that back', async () => {
  const assigned = await stage.run('qvm-usb', 'assign', '--location', 'play', 'dom0:2-2');
  assert.deepEqual([assigned.status, assigned.stderr], [0, '']);
  await is('dom0:2-2', 'attached play');
  assert.equal((await stage.ask<AssignmentView[]>('usb', 'assignments'))[0]?.device, `dom0:${THERE}`);
  assert.equal((await stage.run('qvm-usb', 'unassign', '--location', 'play', 'dom0:2-2')).status, 0);
  await is('dom0:2-2', 'left');
});

test('a software device has no location: refused with a sentence, and nothing is stored', async () => {
  await stage.usher('usb', 'plug', '--at', 'virtual:1-1', '--kind', 'mouse');
  const asked = await stage.try('usb', 'assign', 'work', 'virtual:1-1', '--by-location');
  assert.equal(asked.status, 2);
  assert.match(asked.stderr, /virtual:1-1 has no location: software devices are on no controller/);
  const written = await stage.try('usb', 'assign', 'work', `virtual:${HERE}`);
  assert.equal(written.status, 2);
  assert.match(written.stderr, /software devices have no location, .*: name the port, as virtual:1-2/);
  assert.deepEqual(await stage.ask<AssignmentView[]>('usb', 'assignments'), []);
  await stage.usher('usb', 'unplug', 'virtual:1-1');
});

async function plug(busid: string, location: string): Promise<void> {
  await hand.call('plug', { busid, location, serial: 'TWIN' });
}

async function onlyAssignment(): Promise<number> {
  const [assignment] = await stage.ask<AssignmentView[]>('usb', 'assignments');
  assert.ok(assignment);
  return assignment.id;
}

async function is(device: string, state: string): Promise<void> {
  let seen = '';
  await pollUntil({ what: `${device} being ${state}`, timeoutMs: 10_000, everyMs: 20 }, async () => {
    const row = (await stage.ask<DeviceView[]>('usb', 'list')).find((one) => one.device === device);
    seen = [row?.state, row?.vm].filter((word) => word !== undefined).join(' ');
    return seen === state || undefined;
  }).catch((error: unknown) => assert.fail(`${String(error)} It is ${seen}.`));
}
