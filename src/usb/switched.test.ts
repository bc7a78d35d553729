import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Hold } from '../model/assignment.ts';
import type { Policy } from '../model/policy.ts';
import { formatDeviceId, type UsbDevice } from '../model/usb.ts';
import { plan } from './plan.ts';
import { RouterWorld } from './router-world.ts';
import { SWITCH_MS } from './switched.ts';
import { holdIn, holdOut, outcomeWord, planned, runningVm, stick, wordOf, world } from './test-world.ts';

const KEY = 'dom0:1-1';
/** A modem as it is plugged, and as which it comes back. */
const asDisk = modem('1f01', ['080650'], 'g1');
const asModem = modem('14db', ['020600', '0a0000'], 'g2');
const policy: Policy = {
  mode: 'enforce',
  rules: [{ match: { switches: ['12d1:1f01:*:*', '12d1:14db:*:*'] }, action: { do: 'attach', vm: 'vm1' } }],
  expect: [],
};
const vms = [runningVm(1), runningVm(2)];

function modem(productId: string, interfaces: readonly string[], generation: string): UsbDevice {
  const parts = { vendorId: '12d1', productId, untrustedSerial: 'M1', interfaces };
  return stick(KEY, { ...parts, deviceId: formatDeviceId(parts), generation });
}

suite('plan: a device that changes its id', () => {
  test('a hand and an answer go with it, and the hold is about what it is now', () => {
    for (const by of ['hand', 'answer'] as const) {
      const out: Hold = { ...holdOut(asDisk), by };
      assert.deepEqual(planned({ devices: [asModem], vms, policy, holds: [out] }), {
        steps: ['carryHold dom0:1-1'],
        outcome: 'left',
      });
      const into = holdIn(asDisk, 2, { by });
      const { steps, verdicts } = plan(world({ devices: [asModem], vms, policy, holds: [into] }));
      assert.deepEqual(steps.map(wordOf), ['carryHold dom0:1-1', 'attach dom0:1-1 vm2 0-1']);
      assert.equal(outcomeWord(verdicts[0]?.outcome), 'attaching vm2');
      const [carry] = steps;
      assert.ok(carry?.kind === 'carryHold');
      assert.deepEqual(carry.as, { ...into, generation: 'g2', deviceId: asModem.deviceId });
    }
  });

  test('one that is in no such list is another device, and so is the same one that was plugged anew', () => {
    const holds = [holdOut(asDisk)];
    const dropped = { steps: ['dropHold dom0:1-1', 'attach dom0:1-1 vm1 0-1'], outcome: 'attaching vm1' };
    assert.deepEqual(planned({ devices: [{ ...asDisk, generation: 'g2' }], vms, policy, holds }), dropped);
    const other = stick(KEY, { generation: 'g2' });
    assert.deepEqual(planned({ devices: [other], vms, policy, holds }).steps, ['dropHold dom0:1-1']);
    const plain: Policy = { ...policy, rules: [] };
    assert.deepEqual(planned({ devices: [asModem], vms, policy: plain, holds }).steps, ['dropHold dom0:1-1']);
    const { deviceId: _, ...nameless } = holdOut(asDisk);
    assert.deepEqual(planned({ devices: [asModem], vms, policy, holds: [nameless] }), dropped);
  });

  test('force does not go with it: what speaks against it now counts', () => {
    const objections = [{ kind: 'mounted' as const, says: 'it is mounted' }];
    const holds = [holdIn(asDisk, 2, { isForced: true })];
    const devices = [{ ...asModem, objections }];
    assert.deepEqual(planned({ devices, vms, policy, holds }), { steps: ['carryHold dom0:1-1'], outcome: 'left' });
  });

  test('its hold waits half a minute for it to come back, that of any other device no moment', () => {
    const holds = [holdOut(asDisk)];
    const goneSince = new Map([[`hold ${KEY} g1`, 1_000]]);
    const input = { ...world({ vms, policy, holds, now: 1_000 + SWITCH_MS - 1 }), goneSince };
    assert.deepEqual(plan(input), { steps: [], verdicts: [], wakeAt: 1_000 + SWITCH_MS });
    assert.deepEqual(plan({ ...input, now: 1_000 + SWITCH_MS }).steps.map(wordOf), ['dropHold dom0:1-1']);
    assert.deepEqual(planned({ vms, policy, holds: [holdOut(stick(KEY))] }).steps, ['dropHold dom0:1-1']);
  });
});

suite('Router: a device that changes its id', () => {
  test('detached by hand it stays out when it comes back as another, and is free when it is gone for good', async () => {
    const world = new RouterWorld(2);
    world.policy = policy;
    world.holds = [holdOut(asDisk)];
    await world.start();
    await world.plug(asDisk);
    await world.unplug(KEY);
    await world.clock.advance(SWITCH_MS / 2);
    await world.settle();
    await world.plug(asModem);
    assert.equal(world.whereIs(KEY), '-');
    assert.deepEqual([world.holds[0]?.generation, world.holds[0]?.deviceId], ['g2', asModem.deviceId]);
    await world.unplug(KEY);
    await world.clock.advance(SWITCH_MS);
    await world.settle();
    assert.deepEqual(world.holds, []);
    await world.plug({ ...asDisk, generation: 'g3' });
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });

  test('a wait that is over begins anew with the next one', async () => {
    const world = new RouterWorld(2);
    world.policy = policy;
    world.holds = [holdOut(asDisk)];
    await world.start();
    await world.plug(asDisk);
    for (const [i, device] of [asModem, asDisk, asModem].entries()) {
      await world.unplug(KEY);
      await world.clock.advance(SWITCH_MS - 1_000);
      await world.settle();
      await world.plug({ ...device, generation: `again ${i}` });
      assert.equal(world.whereIs(KEY), '-');
    }
    await world.router.close();
  });
});
