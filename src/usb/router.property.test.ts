import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RouterWorld } from './router-world.ts';
import { assignment, holdIn, holdOut, outcomeWord, stick, vmId } from './test-world.ts';

test('Router: whatever happens, however slowly, no device is in two VMs and all come to rest', async () => {
  const places = ['dom0:1-1', 'dom0:1-2', 'dom0:1-3'];
  const event = fc.oneof(
    fc.record({ do: fc.constant('plug' as const), place: fc.constantFrom(...places) }),
    fc.record({ do: fc.constant('unplug' as const), place: fc.constantFrom(...places) }),
    fc.record({ do: fc.constant('power' as const), vm: fc.integer({ min: 1, max: 3 }), isOn: fc.boolean() }),
    fc.record({ do: fc.constant('open' as const), vm: fc.integer({ min: 1, max: 3 }), isOn: fc.boolean() }),
    fc.record({
      do: fc.constant('wish' as const),
      vm: fc.integer({ min: 1, max: 3 }),
      pattern: fc.constantFrom('dom0:*', ...places),
    }),
    fc.record({
      do: fc.constant('hold' as const),
      vm: fc.integer({ min: 0, max: 3 }),
      place: fc.constantFrom(...places),
    }),
    fc.record({ do: fc.constant('fail' as const), isOn: fc.boolean() }),
  );
  const events = fc.array(fc.tuple(event, fc.integer({ min: 0, max: 40 })), { maxLength: 20 });
  const delays = fc.record({
    attachMs: fc.nat(30),
    detachMs: fc.nat(60),
    observeMs: fc.nat(30),
    addControllerMs: fc.nat(30),
  });
  await fc.assert(
    fc.asyncProperty(events, delays, async (list, delaysMs) => {
      const { observeMs } = delaysMs;
      const world = new RouterWorld(3, {}, 1);
      Object.assign(world, delaysMs, { maxControllers: 3 });
      const started = world.router.start();
      await world.clock.advance(observeMs);
      await started;
      let plugs = 0;
      for (const [one, ms] of list) {
        if (one.do === 'plug') await world.plug(stick(one.place, { generation: `g${++plugs}` }));
        if (one.do === 'unplug') await world.unplug(one.place);
        if (one.do === 'power') world.power(one.vm, one.isOn);
        if (one.do === 'open') world.setOpen(one.vm, one.isOn);
        if (one.do === 'wish') world.assignments = [...world.assignments, assignment(++plugs, one.vm, one.pattern)];
        if (one.do === 'fail') world.failing = () => one.isOn;
        const held = one.do === 'hold' ? world.devices.get(one.place) : undefined;
        if (one.do === 'hold' && held !== undefined)
          world.holds = [one.vm === 0 ? holdOut(held) : holdIn(held, one.vm)];
        if ('vm' in one && one.vm > 0) world.router.hint({ vm: vmId(one.vm) });
        world.router.hint('wishes');
        await world.clock.advance(ms);
      }
      world.failing = () => false;
      for (let n = 1; n <= 3; n++) world.setOpen(n, true);
      const reconciled = world.router.reconcile();
      await world.clock.advance(2_000);
      await reconciled;
      assert.deepEqual(world.errors, []);
      for (const { device: key, outcome } of world.router.verdicts) {
        const expected = outcome.is === 'attached' ? new RegExp(`^vm${Number(outcome.vm.slice(-4))} \\d-\\d$`) : /^-$/;
        assert.match(world.whereIs(key), expected, `${key}: ${outcomeWord(outcome)}`);
        assert.ok(['attached', 'waiting', 'left'].includes(outcome.is));
      }
      await world.router.close();
    }),
    { numRuns: Number(process.env['USHER_RUNS'] ?? 40) },
  );
});
