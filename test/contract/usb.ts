/** The contract of devices: attach, read back, detach, refusals, hints. Most of it needs no booted guest. */
import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import type { DriverHint } from '../../src/hypervisor/driver.ts';
import { newUuid } from '../../src/model/ids.ts';
import type { UsbDevice, UsbSlot } from '../../src/model/usb.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { attachmentOf, type Context, isAbout, kindOf, refuses } from './context.ts';

const FIRST: UsbSlot = { controller: 0, port: 1 };
const SECOND: UsbSlot = { controller: 0, port: 2 };

export function testUsb(current: () => Context): void {
  /** Serves the tests that change nothing of a domain but what is attached to it. */
  let common: VmConfig | undefined;
  const commonDomain = async () => {
    common ??= await current().start();
    return common;
  };
  const makeDevice = () => current().rig.makeDevice(kindOf(current()));

  afterEach(async () => {
    const { driver } = current();
    for (const { uuid, attachments } of await driver.list()) {
      if (uuid !== common?.uuid) await driver.destroy(uuid);
      else for (const attachment of attachments) await driver.detachDevice(uuid, attachment);
    }
  });
  after(() => current().destroyAll());

  test('every kind of device goes in and out of the guest', async () => {
    const context = current();
    const { driver, rig } = context;
    const { uuid } = await context.boot();
    const guest = rig.guest(uuid);
    for (const kind of rig.deviceKinds) {
      const device = await rig.makeDevice(kind);
      const attachment = await driver.attachDevice(uuid, FIRST, device);
      assert.deepEqual(attachment, attachmentOf(uuid, FIRST, device));
      assert.deepEqual((await context.find(uuid)).attachments, [attachment]);
      await context.eventually(`the guest sees the ${kind}`, async () => (await guest.usb()).includes(seenAs(device)));
      await driver.detachDevice(uuid, attachment);
      assert.deepEqual((await context.find(uuid)).attachments, []);
      await context.eventually('the guest sees it leave', async () => (await guest.usb()).length === 0);
    }
  });

  test('what is attached is read back by the next driver, as it is', async () => {
    const context = current();
    const { uuid } = await commonDomain();
    const devices = [await makeDevice(), await makeDevice()];
    const slots = [{ controller: 0, port: 3 }, FIRST];
    for (const [i, device] of devices.entries()) await context.driver.attachDevice(uuid, at(slots, i), device);
    const next = await context.reopen();
    const expected = [
      attachmentOf(uuid, at(slots, 1), at(devices, 1)),
      attachmentOf(uuid, at(slots, 0), at(devices, 0)),
    ];
    const readBack = async () => [...(await context.find(uuid)).attachments].sort((a, b) => a.port - b.port);
    assert.deepEqual(await readBack(), expected);
    for (const attachment of await readBack()) await next.detachDevice(uuid, attachment);
    assert.deepEqual(await readBack(), []);
  });

  test('a port that is taken is refused, with what is there', async () => {
    const context = current();
    const { uuid } = await commonDomain();
    const first = await makeDevice();
    const attachment = await context.driver.attachDevice(uuid, FIRST, first);
    await refuses('usb.port_busy', context.driver.attachDevice(uuid, FIRST, await makeDevice()));
    assert.deepEqual((await context.find(uuid)).attachments, [attachment]);
  });

  test('a port or controller that the domain does not have is refused', async () => {
    const context = current();
    const config = await commonDomain();
    const device = await makeDevice();
    const ports = config.usbControllers[0]?.ports ?? 0;
    const wrong = [
      { controller: 0, port: 0 },
      { controller: 0, port: ports + 1 },
      { controller: config.usbControllers.length, port: 1 },
    ];
    for (const slot of wrong) {
      await refuses('usb.port_not_found', context.driver.attachDevice(config.uuid, slot, device));
    }
    assert.deepEqual((await context.find(config.uuid)).attachments, []);
  });

  test('a device is attached once', async () => {
    const context = current();
    const { uuid } = await commonDomain();
    const device = await makeDevice();
    const attachment = await context.driver.attachDevice(uuid, FIRST, device);
    await refuses('usb.attached', context.driver.attachDevice(uuid, SECOND, device));
    await refuses('usb.attached', context.driver.attachDevice(uuid, FIRST, device));
    assert.deepEqual((await context.find(uuid)).attachments, [attachment]);
  });

  test('an attach that is given up before it began leaves nothing', async () => {
    const context = current();
    const { uuid } = await commonDomain();
    const signal = AbortSignal.abort();
    await refuses('aborted', context.driver.attachDevice(uuid, FIRST, await makeDevice(), { signal }));
    assert.deepEqual((await context.find(uuid)).attachments, []);
  });

  test('a device that is detached can be attached again, elsewhere', async () => {
    const context = current();
    const first = await commonDomain();
    const second = await context.start();
    const device = await makeDevice();
    for (const [{ uuid }, slot] of [
      [first, FIRST],
      [first, SECOND],
      [second, FIRST],
      [second, FIRST],
    ] as const) {
      const attachment = await context.driver.attachDevice(uuid, slot, device);
      assert.deepEqual((await context.find(uuid)).attachments, [attachment]);
      await context.driver.detachDevice(uuid, attachment);
    }
  });

  test('detaching what is not there is fine and touches nothing else', async () => {
    const context = current();
    const { uuid } = await commonDomain();
    const device = await makeDevice();
    const other = await makeDevice();
    await context.driver.detachDevice(uuid, attachmentOf(uuid, FIRST, device));
    const attachment = await context.driver.attachDevice(uuid, FIRST, other);
    await context.driver.detachDevice(uuid, attachmentOf(uuid, FIRST, device));
    await context.driver.detachDevice(uuid, { ...attachment, generation: 'another.plug' });
    assert.deepEqual((await context.find(uuid)).attachments, [attachment]);
    await context.driver.detachDevice(uuid, attachment);
    await context.driver.detachDevice(uuid, attachment);
    assert.deepEqual((await context.find(uuid)).attachments, []);
  });

  test('a domain that ended lets its devices go, and detaching from it is fine', async () => {
    const context = current();
    const first = await context.boot();
    const second = await context.start();
    const device = await makeDevice();
    const attachment = await context.driver.attachDevice(first.uuid, FIRST, device);
    await context.rig.guest(first.uuid).powerOff();
    await context.waitDead(first.uuid);
    await context.driver.detachDevice(first.uuid, attachment);
    const moved = await context.driver.attachDevice(second.uuid, FIRST, device);
    await context.rig.guest(second.uuid).kill();
    await context.eventually('it is gone', async () => (await context.driver.find(second.uuid)) === undefined);
    await context.driver.detachDevice(second.uuid, moved);
    await context.driver.detachDevice(newUuid(), { ...moved, vm: newUuid() });
  });

  test('without a running domain nothing is attached', async () => {
    const context = current();
    const device = await makeDevice();
    await refuses('vm.no_domain', context.driver.attachDevice(newUuid(), FIRST, device));
    const { uuid } = await context.boot();
    await context.rig.guest(uuid).powerOff();
    await context.waitDead(uuid);
    await refuses('vm.no_domain', context.driver.attachDevice(uuid, FIRST, device));
  });

  test('a reset leaves the devices where they are, or none in the new domain', async () => {
    const context = current();
    const { uuid } = await context.start();
    const attachment = await context.driver.attachDevice(uuid, SECOND, await makeDevice());
    await context.driver.reset(uuid);
    const left = context.rig.resetMakesNewDomain === true ? [] : [attachment];
    assert.deepEqual((await context.find(uuid)).attachments, left);
  });

  test('a controller that is added takes devices of every speed, and is there for the next driver', async (t) => {
    const context = current();
    const { uuid } = await context.boot();
    const before = await context.find(uuid);
    const { driver } = context;
    if (driver.addController === undefined || before.canAddController !== true) return t.skip('none can be added');
    await refuses('aborted', driver.addController(uuid, { signal: AbortSignal.abort() }));
    assert.deepEqual((await context.find(uuid)).controllers, before.controllers);
    const added = await driver.addController(uuid);
    const controllers = [...before.controllers, added];
    assert.deepEqual((await context.find(uuid)).controllers, controllers);
    assert.equal(new Set(controllers.map(({ index }) => index)).size, controllers.length);
    assert.deepEqual([...added.speeds].sort(), ['full', 'high', 'low', 'super']);
    const device = await makeDevice();
    const slot = { controller: added.index, port: added.ports };
    const attachment = await driver.attachDevice(uuid, slot, device);
    assert.deepEqual(attachment, attachmentOf(uuid, slot, device));
    const guest = context.rig.guest(uuid);
    await context.eventually('the guest sees it', async () => (await guest.usb()).includes(seenAs(device)));
    const next = await context.reopen();
    const after = await context.find(uuid);
    assert.deepEqual([after.controllers, after.attachments], [controllers, [attachment]]);
    await next.detachDevice(uuid, attachment);
    await next.destroy(uuid);
    await refuses('vm.no_domain', next.addController?.(uuid) ?? Promise.resolve());
  });

  test('hints come until the listener is taken off', async () => {
    const context = current();
    const { uuid } = await commonDomain();
    const hints: DriverHint[] = [];
    const stop = context.driver.onHint((hint) => hints.push(hint));
    const device = await makeDevice();
    const turn = async () => {
      await context.driver.detachDevice(uuid, await context.driver.attachDevice(uuid, FIRST, device));
    };
    await turn();
    await context.eventually('a hint about USB comes', () => hints.some((hint) => isAbout(hint, 'usb', uuid)));
    stop();
    const count = hints.length;
    await turn();
    await context.rig.elapse(100);
    assert.equal(hints.length, count);
  });
}

/** The line of `GuestHand.usb` for the device. */
function seenAs({ vendorId, productId, untrustedSerial }: UsbDevice): string {
  return `${vendorId}:${productId}:${untrustedSerial}`;
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  assert.ok(item !== undefined);
  return item;
}
