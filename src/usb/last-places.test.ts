import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { LastPlaces, type PlaceStore } from './last-places.ts';
import { plan } from './plan.ts';
import type { LastPlace, PlanInput } from './plan-types.ts';
import { RouterWorld } from './router-world.ts';
import {
  assignment,
  attached,
  haltedVm,
  holdIn,
  outcomeWord,
  planned,
  runningVm,
  stick,
  vmId,
  world,
} from './test-world.ts';

const device = stick('dom0:1-1');
const KEY = 'dom0:1-1';
const place = { vm: vmId(1), generation: device.generation, controller: 0, port: 1 };

class Store implements PlaceStore {
  readonly places = new Map<string, LastPlace>();
  saves = 0;

  load() {
    return this.places;
  }

  save(changes: ReadonlyMap<string, LastPlace | undefined>) {
    this.saves += 1;
    for (const [key, one] of changes) {
      if (one === undefined) this.places.delete(key);
      else this.places.set(key, one);
    }
  }
}

function note(places: LastPlaces, input: PlanInput) {
  places.note(input, plan(input));
}

suite('LastPlaces', () => {
  const unseen = { ...haltedVm(1), isUnknown: true };

  test('what is attached, or about to be, is stored; what has left is not; nothing is written twice', () => {
    const store = new Store();
    const places = new LastPlaces(store);
    const assignments = [assignment(1, 1, KEY)];
    note(places, world({ devices: [device], vms: [runningVm(1)], assignments }));
    assert.deepEqual([...store.places], [[KEY, place]], 'before the step begins');
    const inside = world({ devices: [device], vms: [runningVm(1, [attached(device, 1)])], assignments });
    note(places, inside);
    note(places, inside);
    assert.equal(store.saves, 1);
    note(places, world({ devices: [device], vms: [runningVm(1)] }));
    assert.equal(store.places.size, 0);
    assert.deepEqual(places.all.get(KEY), place, 'it gets that port back all the same');
    note(places, world({ vms: [runningVm(1)] }));
    assert.equal(places.all.size, 0);
  });

  test('what was in a VM stays stored until that VM has been observed, plugged or not', () => {
    const store = new Store();
    store.places.set(KEY, place);
    const places = new LastPlaces(store);
    note(places, world({ devices: [device], vms: [unseen] }));
    note(places, world({ vms: [unseen] }));
    assert.deepEqual([store.places.get(KEY), places.all.get(KEY)], [place, place]);
    note(places, world({ vms: [runningVm(1)] }));
    assert.deepEqual([store.places.size, places.all.size], [0, 0]);
  });

  test('a VM that has it now counts more than one that had it', () => {
    const store = new Store();
    store.places.set(KEY, place);
    note(new LastPlaces(store), world({ devices: [device], vms: [unseen, runningVm(2, [attached(device, 2)])] }));
    assert.equal(store.places.get(KEY)?.vm, vmId(2));
  });
});

suite('a daemon that comes up and cannot observe a VM yet', () => {
  test('a device that was last seen there is attached nowhere else, whatever is wished by now', () => {
    const vms = [{ ...haltedVm(1), isUnknown: true }, runningVm(2)];
    const wishes = [{ assignments: [assignment(1, 2, KEY)] }, { holds: [holdIn(device, 2)] }];
    for (const wish of wishes) {
      const input = world({ devices: [device], vms, ...wish });
      const known = plan({ ...input, lastPlaces: new Map([[KEY, place]]) });
      assert.deepEqual(known.steps, []);
      assert.equal(outcomeWord(known.verdicts[0]?.outcome), 'waiting vm2 release');
      assert.equal(planned({ devices: [device], vms, ...wish }).outcome, 'attaching vm2', 'it was never seen there');
    }
  });

  /** A device is in vm1; the daemon dies, and its successor cannot observe that VM. */
  const restarted = async (meanwhile: (world: RouterWorld) => void) => {
    const world = new RouterWorld(2, { places: new Store() });
    world.assignments = [assignment(1, 1, KEY)];
    world.devices.set(KEY, device);
    await world.start();
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    world.hanging.add(vmId(1));
    meanwhile(world);
    await world.restartRouter();
    return world;
  };

  test('its assignment is gone by then: it waits until the VM was observed, and leaves it first', async () => {
    const world = await restarted((down) => {
      down.assignments = [assignment(2, 2, KEY)];
    });
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    assert.equal(outcomeWord(world.router.verdictOf(KEY)?.outcome), 'waiting vm2 release');
    world.hanging.clear();
    await world.clock.advance(30_000);
    await world.settle();
    assert.equal(world.whereIs(KEY), 'vm2 0-1');
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });

  test('a hand would move it, and it was plugged anew meanwhile: it waits all the same', async () => {
    const again = { ...device, generation: 'g2' };
    const world = await restarted((down) => {
      down.assignments = [];
      down.devices.set(KEY, again);
      down.holds = [holdIn(again, 2)];
    });
    await world.unplug(KEY);
    await world.plug(again);
    assert.equal(world.whereIs(KEY), 'vm1 0-1');
    world.hanging.clear();
    await world.clock.advance(30_000);
    await world.settle();
    assert.deepEqual(world.errors, []);
    await world.router.close();
  });
});
