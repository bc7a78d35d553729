import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TraceEntry } from '../api/views.ts';
import { ManualClock } from '../lib/clock.ts';
import { isFault } from '../lib/fault.ts';
import type { VmUuid } from '../model/ids.ts';
import { AuditLog } from './audit.ts';
import { EventLog } from './events.ts';
import { followDevice, traceDevice } from './trace.ts';

const folder = mkdtempSync(join(tmpdir(), 'usher-trace-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const DEVICE = 'dom0:3-1';
const WORK = '11111111-1111-4111-8111-111111111111' as VmUuid;
const USHER = { uid: 0, pid: 7, user: 'usher' };
let number = 0;

/** The stores are real; what the router knows is given. */
function stage(router: { verdict?: object; memory?: object } = {}) {
  const clock = new ManualClock();
  const audit = new AuditLog(join(folder, `audit-${++number}.db`), { clock });
  const events = new EventLog(join(folder, `events-${number}.db`), { clock, bootId: 'x' });
  const parts = {
    ...{ audit, events, clock },
    router: {
      verdictOf: (key: string) => (key === DEVICE ? router.verdict : undefined),
      planInput: () => ({ memory: new Map(router.memory === undefined ? [] : [[DEVICE, router.memory]]) }),
    },
    fleet: { nameOf: () => 'work' },
  } as unknown as Parameters<typeof traceDevice>[0];
  const close = () => {
    audit.close();
    events.close();
  };
  return { clock, audit, events, parts, close };
}

const plugged = { device: DEVICE, deviceId: '0951:1666:S1:080650', product: 'A stick' };
const failed = { device: DEVICE, vm: WORK, name: 'work', message: 'It could not be attached.', retryMs: 1500 };

test('tells in the order of time what was seen, asked, done and failed, and nothing of other devices', async () => {
  const { clock, audit, events, parts, close } = stage();
  events.publish('usb.plugged', plugged);
  events.publish('usb.plugged', { ...plugged, device: 'dom0:3-2' });
  await clock.advance(1000);
  const ada = { uid: 1001, pid: 42, user: 'ada' };
  const asked = audit.intend({ actor: ada, action: 'usb.attach', device: DEVICE, vm: 'work', details: { vm: 'work' } });
  audit.intend({ actor: ada, action: 'usb.attach', device: 'dom0:3-2', vm: 'work' });
  const because = { by: 'rule', says: 'rule "sticks" gives it to work', rule: 'sticks', at: 'policy.yaml:17' };
  const details = { slot: '0-1', why: 'said in full by because' };
  const step = audit.intend({ actor: USHER, action: 'step.attach', device: DEVICE, vm: 'work', details, because });
  await clock.advance(250);
  audit.conclude(step, 'failed', { error: 'It could not be attached.' });
  events.publish('usb.failed', failed);
  audit.conclude(asked, 'denied');
  const { entries } = traceDevice(parts, DEVICE);
  assert.deepEqual(
    entries.map(({ at, is, says }) => `${at.slice(17, 23)} ${is} ${says}`),
    [
      '40.000 seen plugged: A stick (0951:1666:S1:080650)',
      '41.000 asked ada (process 42) asks for usb.attach {"vm":"work"}',
      '41.000 step attach work 0-1, for rule "sticks" gives it to work (sticks, policy.yaml:17)',
      '41.250 failed attach: failed after 250 ms: It could not be attached. (of row 3)',
      '41.250 failed usb.attach: denied after 250 ms (of row 1)',
      '41.250 failed It could not be attached. Next try in 1.5 s.',
    ],
  );
  assert.deepEqual(
    traceDevice(parts, DEVICE, 1_001_250).entries.map(({ row, event }) => [row, event]),
    [
      [4, undefined],
      [5, undefined],
      [undefined, 3],
    ],
  );
  close();
});

test('says how things stand, with what failed and when it is tried again', () => {
  const verdict = {
    outcome: { is: 'waiting', vm: WORK, for: 'retry', detail: 'it broke' },
    decider: { by: 'nothing' },
  };
  const memory = { state: 'failed', failures: 3, retryAt: 1_012_500, lastError: 'it broke', generation: '', vm: WORK };
  const { parts, close } = stage({ verdict, memory });
  assert.deepEqual(traceDevice(parts, DEVICE).now, [
    'waiting work: it broke',
    '3 failures in a row, next try in 12.5 s: it broke',
  ]);
  close();
  const under = stage({ memory: { state: 'attaching', failures: 0, inFlight: { kind: 'attach' }, generation: '' } });
  assert.deepEqual(traceDevice(under.parts, DEVICE).now, ['under way: attach (attaching)']);
  under.close();
});

test('follows: rows and events of that device, as they come, until it is stopped', async () => {
  const { clock, audit, events, parts, close } = stage();
  const heard: TraceEntry[] = [];
  const stop = followDevice(parts, DEVICE, (entry) => heard.push(entry));
  const step = audit.intend({
    actor: USHER,
    action: 'step.detach',
    device: DEVICE,
    vm: 'work',
    details: { why: 'it was pulled' },
  });
  audit.intend({ actor: USHER, action: 'step.detach', device: 'dom0:9-9' });
  await clock.advance(40);
  audit.conclude(step, 'ok');
  events.publish('usb.unplugged', { device: DEVICE, deviceId: 'x' });
  events.publish('daemon.stopping', { version: '1' });
  await clock.advance(0);
  stop();
  audit.intend({ actor: USHER, action: 'step.detach', device: DEVICE });
  events.publish('usb.unplugged', { device: DEVICE, deviceId: 'x' });
  await clock.advance(0);
  assert.deepEqual(
    heard.map(({ is, says }) => `${is} ${says}`),
    ['step detach work, for it was pulled', 'step detach: ok after 40 ms (of row 1)', 'seen unplugged (x)'],
  );
  close();
});

test('what nothing is known of is not found; what a device says of itself harms nothing', async () => {
  const { clock, events, parts, close } = stage();
  assert.throws(
    () => traceDevice(parts, DEVICE),
    (error) => isFault(error, 'usb.device_not_found'),
  );
  events.publish('usb.plugged', { ...plugged, product: `\u001b[2J\u202e\n${'x'.repeat(2000)}` });
  await clock.advance(0);
  const [entry] = traceDevice(parts, DEVICE).entries;
  assert.doesNotMatch(entry?.says ?? '', /[\u0000-\u001f\u202e]/);
  assert.ok((entry?.says.length ?? 0) < 700);
  close();
});
