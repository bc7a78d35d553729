/** What a person is asked about devices, and what a VM does not start without, as a person sees it: simulated VMs. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { AssignmentView, DeviceView, ExplainView, HoldView, QuestionView } from '../../src/api/views.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import type { UsherEvent } from '../../src/model/event.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Stage } from '../support/stage.ts';

const ASK_SECONDS = 2;

let stage: Stage;
let world: WorldProcess;
let env: NodeJS.ProcessEnv;
let made = 0;

before(async () => {
  stage = await Stage.set();
  world = await startWorld({ socket: join(stage.home, 'world.sock') });
  env = { USHER_SIMULATOR_WORLD: world.socket };
  await settings('askTimeoutSeconds: 3600\n');
});
after(async () => {
  await stage.strike();
  await world.stop();
});

test('a question is open until it is answered: with a VM, the device goes there, and stays', async () => {
  const [vm, device] = [await startVm(), await plug()];
  await stage.usher('usb', 'assign', vm, device, '--mode', 'ask');
  await deviceIs(device, 'asking');
  const question = await questionAbout(device);
  assert.deepEqual(question?.vms, [vm]);
  const { because } = await stage.ask<ExplainView>('usb', 'explain', device);
  assert.match(because.join(' '), new RegExp(`until a person says whether VM ${vm} may have it; without an answer by`));
  assert.match(await stage.usher('usb', 'answer', device, vm), /attached/);
  assert.equal(await questionAbout(device), undefined);
  const { why } = await deviceOf(device);
  assert.equal(why, `attached to ${vm} as a person said who was asked`);
  const [asked, answered] = await eventsAbout(device);
  assert.deepEqual([asked?.kind, answered?.kind], ['usb.asked', 'usb.answered']);
  assert.ok(answered?.kind === 'usb.answered');
  assert.equal(answered.body.answer, vm);
  const again = await stage.try('usb', 'answer', device, 'no');
  assert.equal(again.status, 4, 'it is answered once');
});

test('with no, it is kept out until it is plugged anew; then the question comes anew', async () => {
  const [vm, device] = [await startVm(), await plug()];
  await stage.usher('usb', 'assign', vm, device, '--mode', 'ask');
  await deviceIs(device, 'asking');
  await stage.usher('usb', 'answer', device, 'no');
  const view = await deviceOf(device);
  assert.deepEqual([view.state, view.why], ['left', 'refused by a person who was asked']);
  await stage.usher('usb', 'unplug', device);
  await stage.usher('usb', 'plug', '--at', device, '--kind', 'tablet', '--serial', 'again');
  await deviceIs(device, 'asking');
});

test('an answer that is remembered is an assignment: nobody is asked again', async () => {
  const [vm, device] = [await startVm(), await plug()];
  await stage.usher('usb', 'assign', vm, device, '--mode', 'ask');
  await deviceIs(device, 'asking');
  const refused = await stage.try('usb', 'answer', device, 'no', '--remember');
  assert.equal(refused.status, 2);
  await stage.usher('usb', 'answer', device, vm, '--remember');
  await stage.usher('usb', 'release', device);
  const { state, deviceId } = await deviceOf(device);
  const assignments = await stage.ask<AssignmentView[]>('usb', 'assignments');
  const remembered = assignments.find((one) => one.vm === vm && one.mode === 'auto');
  assert.equal(remembered?.device, deviceId);
  assert.notEqual(state, 'asking');
});

test('what is asked about two VMs may go to either, and to no third', async () => {
  const [first, second, third, device] = [await startVm(), await startVm(), await startVm(), await plug()];
  for (const vm of [first, second]) await stage.usher('usb', 'assign', vm, device, '--mode', 'ask');
  await pollUntil({ what: 'The question', timeoutMs: 5000, everyMs: 20 }, async () =>
    (await questionAbout(device)) === undefined ? undefined : true,
  );
  const wrong = await stage.try('usb', 'answer', device, third);
  assert.match(wrong.stderr, /the question is about VM/);
});

test('an open question outlives the daemon; without an answer in time the device is kept out', async () => {
  const [vm, device] = [await startVm(), await plug()];
  await settings(`askTimeoutSeconds: ${ASK_SECONDS}\n`);
  await stage.usher('usb', 'assign', vm, device, '--mode', 'ask');
  await deviceIs(device, 'asking');
  const question = await questionAbout(device);
  await stage.endDaemon('SIGKILL');
  await stage.startDaemon(env);
  const next = await questionAbout(device);
  if (next !== undefined) assert.equal(next.until, question?.until);
  await deviceIs(device, 'left');
  assert.match((await deviceOf(device)).why, /nobody said in time/);
  const holds = await stage.ask<HoldView[]>('usb', 'holds');
  assert.equal(holds.find((hold) => hold.device === device)?.by, 'silence');
  await settings('askTimeoutSeconds: 3600\n');
});

test('a VM does not start without what it requires, and says what is missing; it starts when that is there', async () => {
  const vm = await makeVm();
  const place = `virtual:2-${++made}`;
  await stage.usher('usb', 'assign', vm, `${place}:0627:0001:*`, '--mode', 'required');
  const refused = await stage.try('vm', 'start', vm);
  assert.equal(refused.status, 5);
  assert.match(
    refused.stderr,
    new RegExp(`does not start without the device ${place}:0627:0001:\\*:\\* \\(nothing like it`),
  );
  await stage.usher('usb', 'plug', '--at', place, '--kind', 'tablet', '--serial', 'R');
  await stage.usher('vm', 'start', vm);
  await deviceIs(place, 'attached');
  const kept = await stage.try('usb', 'detach', place);
  assert.equal(kept.status, 5);
  assert.match(kept.stderr, /requires the device .*: assignment \d+/);
  await stage.usher('usb', 'unplug', place);
  assert.match(await stage.usher('vm', 'list'), new RegExp(`${vm}.*running`), 'it goes on when that is pulled');
});

async function settings(text: string): Promise<void> {
  await writeFile(join(stage.home, 'usherd.yaml'), text);
  if (stage.daemonPid !== undefined) await stage.endDaemon('SIGTERM');
  await stage.startDaemon(env);
}

async function makeVm(): Promise<string> {
  const name = `vm${++made}`;
  const file = join(stage.home, `${name}.cfg`);
  await writeFile(file, `name = ${name}\ndriver = simulator\nmemory = 64\n`);
  await stage.usher('vm', 'create', file);
  return name;
}

async function startVm(): Promise<string> {
  const name = await makeVm();
  await stage.usher('vm', 'start', name);
  return name;
}

async function plug(): Promise<string> {
  const place = `virtual:1-${++made}`;
  await stage.usher('usb', 'plug', '--at', place, '--kind', 'tablet', '--serial', `S${made}`);
  return place;
}

async function deviceOf(device: string): Promise<DeviceView> {
  const found = (await stage.ask<DeviceView[]>('usb', 'list')).find((row) => row.device === device);
  assert.ok(found, `${device} is listed`);
  return found;
}

async function deviceIs(device: string, state: string): Promise<void> {
  await pollUntil({ what: `${device} is ${state}`, timeoutMs: 10_000, everyMs: 20 }, async () =>
    (await deviceOf(device)).state === state ? true : undefined,
  );
}

async function questionAbout(device: string): Promise<QuestionView | undefined> {
  return (await stage.ask<QuestionView[]>('usb', 'pending')).find((row) => row.device === device);
}

async function eventsAbout(device: string): Promise<UsherEvent[]> {
  const lines = (await stage.usher('events', '--since', '0', '--once', '--json')).trim().split('\n');
  const events = lines.map((line) => JSON.parse(line) as UsherEvent);
  return events.filter(
    ({ kind, body }) =>
      kind.startsWith('usb.a') && kind !== 'usb.attached' && 'device' in body && body.device === device,
  );
}
