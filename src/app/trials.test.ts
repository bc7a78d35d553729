import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Inventory } from '../inventory/inventory.ts';
import { ManualClock } from '../lib/clock.ts';
import { Fault } from '../lib/fault.ts';
import { silentLog } from '../lib/log.ts';
import { parseDevicePattern } from '../model/assignment.ts';
import { AuditLog } from './audit.ts';
import { Trials } from './trials.ts';

const root = mkdtempSync(join(tmpdir(), 'usher-trials-'));
after(() => rmSync(root, { recursive: true }));

/** Trials of an inventory with a VM, on disks that are full for as long as `isFull`; `told` are events. */
async function stage() {
  const folder = mkdtempSync(join(root, 'test-'));
  const clock = new ManualClock();
  const inventory = new Inventory(join(folder, 'usher.db'), { defaultDriver: 'simulator', clock });
  const audit = new AuditLog(join(folder, 'audit.db'), { clock, log: silentLog });
  const { record } = await inventory.createVm({ content: 'name = work\n' });
  const state = { isFull: false, policy: 'tried', told: [] as string[] };
  const trials = new Trials({
    inventory: {
      trials: inventory.trials,
      holds: () => inventory.holds(),
      putHold: (hold) => inventory.putHold(hold),
      dropHold: (hold) => inventory.dropHold(hold),
      assignments: () => inventory.assignments(),
      removeAssignment: (id) => {
        if (state.isFull) throw new Fault('internal', { what: 'database or disk is full' });
        inventory.removeAssignment(id);
      },
    },
    audit,
    clock,
    log: silentLog,
    publish: (kind) => state.told.push(kind),
    goBack: async (text) => {
      state.policy = text;
      return { policy: text };
    },
    onUndone: () => {},
  });
  const assign = () =>
    inventory.addAssignment({ vm: record.uuid, pattern: parseDevicePattern('dom0:1-1'), mode: 'auto' }).id;
  const rows = () => audit.list({ limit: 100 }).filter(({ action }) => action === 'trial.undo');
  return { clock, inventory, trials, state, assign, rows, record };
}

test('what nobody confirms is undone, and the trail has it with its reason', async () => {
  const { clock, inventory, trials, assign, rows, state } = await stage();
  const id = assign();
  trials.begin('assignment was made', { do: 'assignment', id }, 30);
  trials.begin('another policy was loaded', { do: 'policy', text: 'before' }, 30);
  await clock.advance(30_000);
  assert.deepEqual(inventory.assignments(), []);
  assert.equal(state.policy, 'before');
  assert.deepEqual(trials.list(), []);
  const intents = rows().filter(({ kind }) => kind === 'intent');
  assert.deepEqual(
    intents.map(({ details, because, actor }) => [details['what'], because?.says, actor.user]),
    [
      ['assignment was made', 'nobody confirmed it within 30 s', 'usher'],
      ['another policy was loaded', 'nobody confirmed it within 30 s', 'usher'],
    ],
  );
  const ends = rows().filter(({ kind }) => kind === 'outcome');
  assert.deepEqual(
    ends.map(({ outcome, after: then }) => [outcome, then]),
    [
      ['ok', undefined],
      ['ok', { policy: 'before' }],
    ],
  );
});

test('what cannot be undone, for the disk is full, stays on trial and is tried again until it can', async () => {
  const { clock, inventory, trials, assign, state, rows } = await stage();
  state.isFull = true;
  trials.begin('assignment was made', { do: 'assignment', id: assign() }, 30);
  await clock.advance(30_000);
  assert.equal(inventory.assignments().length, 1);
  assert.equal(trials.list().length, 1);
  assert.ok(!state.told.includes('trial.ended'));
  state.isFull = false;
  await clock.advance(5_000);
  assert.deepEqual([inventory.assignments(), trials.list()], [[], []]);
  assert.ok(state.told.includes('trial.ended'));
  assert.deepEqual(
    rows().flatMap(({ outcome }) => outcome ?? []),
    ['failed', 'ok'],
  );
});

test('who confirms it between two tries keeps the change', async () => {
  const { clock, inventory, trials, assign, state } = await stage();
  state.isFull = true;
  const { id } = trials.begin('assignment was made', { do: 'assignment', id: assign() }, 30);
  await clock.advance(30_000);
  trials.confirm(id);
  state.isFull = false;
  await clock.advance(60_000);
  assert.equal(inventory.assignments().length, 1);
});

test('an assignment that somebody removes is on trial no more', async () => {
  const { clock, inventory, trials, assign, rows } = await stage();
  const id = assign();
  trials.begin('assignment was made', { do: 'assignment', id }, 30);
  inventory.removeAssignment(id);
  trials.endOfAssignment(id);
  assert.deepEqual(trials.list(), []);
  await clock.advance(30_000);
  assert.deepEqual(rows(), []);
});

test('a hold gives way to the one before, or to none when the VM of that is no more', async () => {
  const { clock, inventory, trials, record } = await stage();
  const plug = { backend: 'dom0', busid: '1-1', generation: 'g', by: 'hand' as const };
  const [hold, before] = [
    { ...plug, kind: 'out' as const, createdAt: 2 },
    { ...plug, kind: 'in' as const, vm: record.uuid, createdAt: 1 },
  ];
  trials.begin('it was detached', { do: 'hold', hold, before }, 30);
  inventory.putHold(hold);
  await clock.advance(30_000);
  assert.equal(inventory.holds()[0]?.kind, 'in');
  trials.begin('it was detached', { do: 'hold', hold, before }, 30);
  inventory.putHold(hold);
  inventory.removeVm(record.uuid);
  await clock.advance(30_000);
  assert.deepEqual([inventory.holds(), trials.list()], [[], []]);
});

test('a hand on trial is undone also when its device has changed its id meanwhile', async () => {
  const { clock, inventory, trials } = await stage();
  const place = { backend: 'dom0', busid: '1-1', kind: 'out', by: 'hand', createdAt: 1 } as const;
  const hold = { ...place, generation: 'g1', deviceId: '12d1:1f01::080650' };
  trials.begin('a device was detached', { do: 'hold', hold }, 30);
  inventory.putHold(hold);
  inventory.carryHold(hold, { ...place, generation: 'g2', deviceId: '12d1:14db::020600' });
  await clock.advance(30_000);
  assert.deepEqual(inventory.holds(), []);
});
