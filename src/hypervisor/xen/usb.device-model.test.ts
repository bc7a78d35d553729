import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { huskPath, modelNotePath, modelPidPath, notePath, portPath } from './nodes.ts';
import { refusal } from './testing/refusal.ts';
import { SLOT, UsbRig } from './testing/usb-rig.ts';

suite('device models that die', () => {
  test('the end of our QMP socket tells the end of the device model at once', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm', isOurs: true });
    const usb = await rig.open(t);
    await usb.observe(domain);
    rig.hints.length = 0;
    await rig.models[0]?.die();
    const began = performance.now();
    await rig.until('a hint', () => rig.hints.length > 0);
    assert.ok(performance.now() - began < 150, 'it was found by looking, which is done each 200 ms of the rig');
  });

  test('a dead device model is seen at once, and revived; the old controller is left alone', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    await usb.attach(domain, SLOT, device);
    await rig.until('the note', () => rig.store.client.exists(modelNotePath(5)));
    await rig.models[0]?.die();
    const { controllers, attachments, usbTrouble } = await usb.observe(domain);
    assert.deepEqual([controllers, attachments], [[], []]);
    assert.match(usbTrouble ?? '', /device model/);
    await rig.until('the revival', async () => (await usb.observe(domain)).usbTrouble === undefined);
    const after = await usb.observe(domain);
    assert.deepEqual(
      after.controllers.map(({ index }) => index),
      [1],
    );
    assert.deepEqual(after.attachments, []);
    assert.equal(rig.probed, '1-4:1.0');
    assert.ok(await rig.store.client.exists(huskPath(5, 0)));
    assert.equal(await rig.port(5, 1), '');
    // Closing it would hang the guest.
    assert.equal(await rig.store.client.read('/local/domain/0/backend/qusb/5/0/state'), '4');
    assert.equal(await rig.store.client.read(modelPidPath(5)), String(rig.models[1]?.pid));
    await usb.attach(domain, { controller: 1, port: 1 }, device);
    assert.deepEqual(
      rig.xlWords.map(([word]) => word),
      ['usbctrl-attach'],
    );
  });

  test('a domain that ends while its device model is noted keeps no note', async (t) => {
    const rig = await UsbRig.make(t);
    await rig.domain(5);
    const { client, daemon } = rig.store;
    let isEnding = false;
    daemon.mischief = ({ name, fields: [path] }) => {
      if (isEnding || name !== 'READ' || path !== modelNotePath(5)) return undefined;
      isEnding = true;
      for (const node of ['/local/domain/5', '/libxl/5']) void client.rm(node);
      return undefined;
    };
    await rig.open(t);
    await client.transaction(async (transaction) => transaction.read('/'));
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual([isEnding, await client.exists('/libxl/5')], [true, false]);
  });

  test('nothing is held when a question ends after the close', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const timers = new Set<() => void>();
    const clock: Clock = {
      ...systemClock,
      after(ms, fire) {
        const cancel = systemClock.after(ms, () => {
          timers.delete(forget);
          fire();
        });
        const forget = () => {
          timers.delete(forget);
          cancel();
        };
        timers.add(forget);
        return forget;
      },
    };
    const usb = await rig.open(t, { clock });
    const asked = usb.observe(domain);
    await usb.close();
    await asked.catch(() => undefined);
    assert.equal(timers.size, 0);
    for (const forget of timers) forget();
  });

  /** What a daemon had done of a revival when it was killed. */
  const STAGES = ['nothing', 'marked', 'cleared', 'started', 'noted', 'given a controller'] as const;
  for (const [done, stage] of STAGES.entries()) {
    test(`a daemon that was killed in a revival is followed by one that goes on: ${stage}`, async (t) => {
      const rig = await UsbRig.make(t);
      const domain = await rig.domain(5);
      const first = await rig.open(t);
      await first.attach(domain, SLOT, rig.plug('1-4', 7));
      const { client } = rig.store;
      await rig.until('the note', () => client.exists(modelNotePath(5)));
      await first.close();
      const before = await client.read(modelPidPath(5));
      await rig.models[0]?.die();
      if (done >= 1) {
        await client.write(huskPath(5, 0), '1');
        await client.write(portPath('qusb', 5, SLOT), '');
        await client.rm(notePath(5, SLOT));
      }
      if (done >= 2) await client.rm('/local/domain/0/device-model/5/state');
      if (done >= 3) await rig.serve(5);
      if (done === 3) await client.write(modelPidPath(5), before ?? '');
      if (done >= 5) await rig.controller(5, 1, 'qusb', 31);
      const usb = await rig.open(t);
      await rig.until('the controller', async () => (await usb.observe(domain)).controllers[0]?.index === 1);
      assert.equal(rig.models.length, 2);
      assert.equal(await client.read(modelPidPath(5)), String(rig.models[1]?.pid));
      assert.equal(rig.xlWords.length, done >= 5 ? 0 : 1);
      await usb.attach(domain, { controller: 1, port: 1 }, rig.plug('1-3', 8));
    });
  }

  test('a domain that is destroyed while its device model is revived leaves nothing', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    let launches = 0;
    const usb = await rig.open(t, {
      launch: () => {
        launches++;
        return 999_999;
      },
      living: async () => {
        await rig.destroy(domain);
        return new Set([5]);
      },
    });
    await rig.until('the note', () => rig.store.client.exists(modelNotePath(5)));
    await rig.models[0]?.die();
    await usb.observe(domain).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(launches, 0);
    assert.deepEqual(await rig.store.client.directory('/local/domain/5'), undefined);
  });

  test('one that dies again and again is left alone in the end, and the reason is said', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    await rig.until('the note', () => rig.store.client.exists(modelNotePath(5)));
    for (let deaths = 1; deaths <= 6; deaths++) {
      await rig.models.at(-1)?.die();
      await rig.until('an end', async () => {
        const { usbTrouble, controllers } = await usb.observe(domain);
        return controllers.length > 0 || /within an hour/.test(usbTrouble ?? '');
      });
    }
    assert.match((await usb.observe(domain)).usbTrouble ?? '', /died 6 times within an hour/);
    assert.equal(rig.models.length, 6);
    const device = rig.plug('1-4', 7);
    await refusal('usb.port_not_found', usb.attach(domain, { controller: 1, port: 1 }, device));
  });

  test('an HVM guest’s dead device model is not revived; its devices are given back', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5, { kind: 'hvm' });
    const usb = await rig.open(t);
    rig.plug('1-4', 7);
    await rig.store.client.write(portPath('devicemodel', 5, SLOT), '1-4');
    rig.bind('1-4', undefined);
    await usb.observe(domain);
    await rig.models[0]?.die();
    await rig.until('the verdict', async () => /destroy/.test((await usb.observe(domain)).usbTrouble ?? ''));
    assert.equal(await rig.store.client.read(portPath('devicemodel', 5, SLOT)), '');
    assert.equal(rig.probed, '1-4:1.0');
    assert.equal(rig.models.length, 1);
  });

  test('a device model that ends with its domain is not revived', async (t) => {
    const rig = await UsbRig.make(t);
    const domain = await rig.domain(5);
    const usb = await rig.open(t);
    const device = rig.plug('1-4', 7);
    await usb.attach(domain, SLOT, device);
    // libxl removes this, ends the device model, and takes its time for the rest.
    await rig.store.client.rm('/local/domain/0/device-model/5');
    await rig.models[0]?.die();
    await usb.observe(domain);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(rig.models.length, 1);
    await rig.destroy(domain);
    await usb.release(domain);
    assert.equal(rig.probed, '1-4:1.0');
  });
});
