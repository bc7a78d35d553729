/** The world's guests and devices, and what it does when its clients die. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { refuses, setWorldStage, type WorldStage } from '../../../test/support/world-stage.ts';
import { isFault } from '../../lib/fault.ts';
import { deviceKey } from '../../model/usb.ts';
import type { DriverHint } from '../driver.ts';
import { populationConfig, populationDevice } from './population.ts';
import { World, type WorldOptions } from './world.ts';

const SLOT = { controller: 0, port: 1 };
const CONFIG = populationConfig(0);
const { uuid } = CONFIG;

let stage: WorldStage;
beforeEach(async () => {
  stage = await setWorldStage();
});
afterEach(() => stage.clear());

/** Sets the stage anew, with other options. */
async function restage(options: Omit<WorldOptions, 'clock'>): Promise<void> {
  await stage.clear();
  stage = await setWorldStage(options);
}

describe('controllers', () => {
  const controllersOf = async () => (await stage.driver.find(uuid))?.controllers ?? [];

  test('are added up to the limit of the world, and a new domain has those of its config', async () => {
    await restage({ maxControllers: 3 });
    const { driver } = stage;
    assert.equal((await driver.start(CONFIG, { isPaused: true })).canAddController, true);
    assert.deepEqual(
      [await driver.addController(uuid), await driver.addController(uuid)].map(({ index }) => index),
      [1, 2],
    );
    assert.equal((await driver.find(uuid))?.canAddController, undefined);
    await refuses('usb.controller_failed', driver.addController(uuid));
    assert.equal((await controllersOf()).length, 3);
    await driver.destroy(uuid);
    await driver.start(CONFIG, { isPaused: true });
    assert.equal((await controllersOf()).length, 1);
  });

  test('are not added where the world has no such option', async () => {
    const { driver } = stage;
    assert.equal((await driver.start(CONFIG, { isPaused: true })).canAddController, undefined);
    await refuses('usb.controller_failed', driver.addController(uuid));
  });

  test('go with the device model and come back with a new one; the devices are free meanwhile', async () => {
    await restage({ maxControllers: 3 });
    const { driver, hand } = stage;
    await driver.start(CONFIG, { isPaused: false });
    await driver.addController(uuid);
    const device = await hand.call('plug', { busid: '1-1' });
    await driver.attachDevice(uuid, SLOT, device);
    const hints: DriverHint[] = [];
    driver.onHint((hint) => hints.push(hint));
    await hand.call('deviceModel', { uuid, isGone: true });
    await stage.settle();
    assert.deepEqual(hints, [{ about: 'usb', uuid }]);
    const { run, controllers, attachments, canAddController, usbTrouble } = (await driver.find(uuid)) ?? {};
    assert.deepEqual([run, controllers, attachments, canAddController], ['running', [], [], undefined]);
    assert.match(usbTrouble ?? '', /device model is gone/);
    await refuses('usb.attach_failed', driver.attachDevice(uuid, SLOT, device));
    await refuses('usb.controller_failed', driver.addController(uuid));
    await hand.call('deviceModel', { uuid, isGone: false });
    assert.equal((await driver.find(uuid))?.usbTrouble, undefined);
    assert.equal((await controllersOf()).length, 2);
    await driver.attachDevice(uuid, SLOT, device);
  });
});

describe('guests', () => {
  const runOf = async () => (await stage.driver.find(uuid))?.run;
  test('do not hear the power button while they boot, and take their time to halt', async () => {
    await restage({ bootMs: 1000, shutdownMs: 300 });
    const { clock, driver } = stage;
    await driver.start(CONFIG, { isPaused: false });
    await driver.requestShutdown(uuid);
    await clock.advance(1000);
    assert.equal(await runOf(), 'running');
    await driver.requestShutdown(uuid);
    await clock.advance(299);
    assert.equal(await runOf(), 'running');
    await clock.advance(1);
    assert.equal((await driver.find(uuid))?.death?.reason, 'halt');
  });

  test('hear it after a pause', async () => {
    const { driver } = stage;
    await driver.start(CONFIG, { isPaused: true });
    await driver.requestShutdown(uuid);
    assert.equal(await runOf(), 'paused');
    await driver.unpause(uuid);
    assert.equal(await runOf(), 'dead');
  });

  test('that hang hear nothing and make no progress until they are reset', async () => {
    const { clock, driver, hand } = stage;
    await driver.start(CONFIG, { isPaused: false });
    await clock.advance(500);
    await hand.call('guest', { uuid, action: 'freeze' });
    await driver.requestShutdown(uuid);
    await clock.advance(1000);
    const frozen = await hand.call('guest', { uuid, action: 'look' });
    assert.deepEqual([await runOf(), frozen?.ticks, frozen?.isReady], ['running', 5, false]);
    await driver.reset(uuid);
    await driver.requestShutdown(uuid);
    assert.equal(await runOf(), 'dead');
  });

  test('see a device leave that is pulled, while its attachment stays', async () => {
    const { driver, hand } = stage;
    await driver.start(CONFIG, { isPaused: false });
    const device = await hand.call('plug', { busid: '1-1', serial: 'S 1' });
    const attachment = await driver.attachDevice(uuid, SLOT, device);
    const seen = async () => (await hand.call('guest', { uuid, action: 'look' }))?.usb;
    assert.deepEqual(await seen(), ['0951:1666:S 1']);
    await hand.call('unplug', device);
    assert.deepEqual(await seen(), []);
    const again = await hand.call('plug', { busid: '1-1', serial: 'S 1' });
    assert.notEqual(again.generation, device.generation);
    assert.deepEqual(await seen(), []);
    assert.deepEqual((await driver.find(uuid))?.attachments, [attachment]);
    await refuses('usb.attached', driver.attachDevice(uuid, { controller: 0, port: 2 }, again));
    await driver.detachDevice(uuid, attachment);
    await driver.attachDevice(uuid, SLOT, again);
    assert.deepEqual(await seen(), ['0951:1666:S 1']);
  });
});

describe('devices', () => {
  test('are listed by backend, with a hint for each change', async () => {
    const { driver, hand, settle } = stage;
    let hints = 0;
    const source = driver.sourceOf('usbvm');
    const stop = source.watch(() => hints++);
    await hand.call('plug', { busid: '1-1' });
    const device = await hand.call('plug', { backend: 'usbvm', busid: '4-6', guard: 'a hub' });
    await settle();
    assert.equal(hints, 1);
    assert.deepEqual(await source.list(), [device]);
    assert.deepEqual(
      (await driver.sources()).map(({ backend }) => backend),
      ['dom0', 'usbvm'],
    );
    await refuses('usb.device_exists', hand.call('plug', { backend: 'usbvm', busid: '4-6' }));
    await hand.call('removeBackend', { backend: 'usbvm' });
    await refuses('hypervisor.failed', source.list());
    await settle();
    assert.equal(hints, 2);
    stop();
  });

  test('of a speed that the controller does not have are refused', async () => {
    const { driver, hand } = stage;
    await driver.start({ ...CONFIG, usbControllers: [{ type: 'auto', version: 1, ports: 2 }] }, { isPaused: false });
    const device = await hand.call('plug', { busid: '1-1', speed: 'super' });
    await refuses('usb.attach_failed', driver.attachDevice(uuid, SLOT, device));
  });

  test('are in one domain at most, and free when it is gone, whatever is tried', () => {
    const configs = [0, 1, 2].map(populationConfig);
    const step = fc.record({
      verb: fc.constantFrom('attach', 'attach', 'attach', 'detach', 'destroy', 'start', 'replug', 'powerOff'),
      config: fc.constantFrom(...configs),
      place: fc.nat(2).map(populationDevice),
      slot: fc.record({ controller: fc.constant(0), port: fc.integer({ min: 1, max: 3 }) }),
    });
    const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const world = new World();
      const devices = new Map([0, 1, 2].map(populationDevice).map((place) => [place.busid, world.plug(place)]));
      const attachments = () => world.list().flatMap((domain) => domain.attachments);
      for (const config of configs) world.start({ config, isPaused: false });
      for (const { verb, config, place, slot } of steps) {
        const device = devices.get(place.busid);
        assert.ok(device);
        try {
          if (verb === 'attach') world.attachDevice(config.uuid, slot, device);
          else if (verb === 'destroy') world.destroy(config.uuid);
          else if (verb === 'start') world.start({ config, isPaused: false });
          else if (verb === 'powerOff') world.guest(config.uuid, 'powerOff');
          else if (verb === 'detach') {
            for (const attachment of attachments().slice(0, 1)) world.detachDevice(attachment.vm, attachment);
          } else {
            world.unplug(device);
            devices.set(place.busid, world.plug(place));
          }
        } catch (error) {
          assert.ok(isFault(error), String(error));
        }
        assert.equal(new Set(attachments().map(deviceKey)).size, attachments().length);
      }
      for (const config of configs) world.destroy(config.uuid);
      world.start({ config: CONFIG, isPaused: true });
      for (const [i, device] of [...devices.values()].entries()) {
        world.attachDevice(uuid, { controller: 0, port: i + 1 }, device);
      }
    });
    fc.assert(property);
  });
});

describe('clients that die', () => {
  test('leave domains and attachments, and the next finds them', async () => {
    const { driver, world } = stage;
    await driver.start(CONFIG, { isPaused: false });
    const attachment = await driver.attachDevice(uuid, SLOT, world.plug({ busid: '1-1' }));
    const before = await driver.list();
    await world.dropClients();
    await refuses('hypervisor.missing', driver.list());
    assert.equal((await driver.diagnose())[0]?.level, 'error');
    const next = stage.openDriver();
    assert.deepEqual(await next.list(), before);
    assert.deepEqual((await next.find(uuid))?.attachments, [attachment]);
  });

  test('in the middle of a save leave the guest as it was, and no file', async () => {
    const { driver, folder, settle, world } = stage;
    await driver.start(CONFIG, { isPaused: false });
    world.disturbances.add({ method: 'beginSave', trouble: { do: 'hang', when: 'after' } });
    const path = join(folder, 'x.save');
    const save = refuses('hypervisor.missing', driver.save(uuid, path, { afterwards: 'stopped' }));
    while (world.find(uuid)?.run !== 'saving') await settle();
    await world.dropClients();
    await save;
    assert.equal(world.find(uuid)?.run, 'running');
    assert.deepEqual(await readdir(folder), [uuid]);
  });

  test('take with them what has had no effect yet', async () => {
    await restage({ latencyMs: { start: 100 } });
    const { clock, driver, settle, world } = stage;
    const start = refuses('hypervisor.missing', driver.start(CONFIG, { isPaused: false }));
    await settle();
    await world.dropClients();
    await start;
    await clock.advance(1000);
    assert.deepEqual(world.list(), []);
  });
});

describe('a save', () => {
  test('that is live lets the guest run while its memory is copied, another does not', async () => {
    await restage({});
    const { driver, world, clock } = stage;
    world.latencyMs.copyMemory = 500;
    await driver.start(CONFIG, { isPaused: false });
    const pausedMs: number[] = [];
    for (const isLive of [true, false]) {
      const save = driver.save(uuid, join(stage.folder, 'x.save'), { afterwards: 'running', isLive });
      // The deadline of the save, and the copy that takes its time.
      while (clock.waiting < 2) await new Promise((resolve) => setImmediate(resolve));
      await clock.advance(500);
      pausedMs.push((await save).pausedMs);
    }
    assert.deepEqual(pausedMs, [0, 500]);
  });
});
