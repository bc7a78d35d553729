import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { HostDevices } from './host-devices.ts';
import { BOOT, UsbRig } from './testing/usb-rig.ts';

async function hostOf(t: Parameters<typeof UsbRig.make>[0]) {
  const rig = await UsbRig.make(t);
  const hosts = new HostDevices({ sysfsRoot: rig.sysfs.root, usbfsRoot: rig.usbfsRoot, bootId: BOOT });
  const attribute = (busid: string, name: string) => join(rig.sysfs.root, 'bus/usb/devices', busid, name);
  return { rig, hosts, attribute };
}

suite('devices of dom0', () => {
  test('a plug is gone with its node, a moment before it is gone from sysfs', async (t) => {
    const { rig, hosts } = await hostOf(t);
    const device = rig.plug('1-4.2', 7);
    const node = rig.nodeOf('1-4.2', 7);
    assert.deepEqual(hosts.plugAt('1-4.2'), { busid: '1-4.2', bus: 1, devnum: 7, node, generation: device.generation });
    rmSync(node);
    assert.equal(hosts.plugAt('1-4.2'), undefined);
    assert.equal(hosts.plugAt('1-9'), undefined);
  });

  test('nonsense for a device number is no plug', async (t) => {
    const { rig, hosts, attribute } = await hostOf(t);
    rig.plug('1-4', 7);
    for (const text of ['', '0', '128', '7x', '../7', '-1']) {
      writeFileSync(attribute('1-4', 'devnum'), text);
      assert.equal(hosts.plugAt('1-4'), undefined, text);
    }
  });

  test('its id is the one that it is listed with', async (t) => {
    const { rig, hosts } = await hostOf(t);
    const device = rig.plug('1-4', 7, { serial: 'S 1\u202e' });
    assert.equal(await hosts.deviceIdAt('1-4'), device.deviceId);
    assert.equal(await hosts.deviceIdAt('1-9'), undefined);
  });

  test('an interface without a driver is probed; one that somebody has is left alone', async (t) => {
    const { rig, hosts } = await hostOf(t);
    rig.plug('1-4', 7);
    await hosts.giveBack('1-4');
    assert.equal(rig.probed, '');
    rig.bind('1-4', 'usbfs');
    await hosts.giveBack('1-4');
    assert.equal(rig.probed, '');
    rig.bind('1-4', undefined);
    await hosts.giveBack('1-4');
    assert.equal(rig.probed, '1-4:1.0');
    await hosts.giveBack('1-9');
  });

  test('a configuration that a guest took away is set again, but not on a device that is not authorised', async (t) => {
    const { rig, hosts, attribute } = await hostOf(t);
    const value = () => readFileSync(attribute('1-4', 'bConfigurationValue'), 'utf8');
    rig.plug('1-4', 7, { authorized: '0' });
    writeFileSync(attribute('1-4', 'bConfigurationValue'), '\n');
    await hosts.giveBack('1-4');
    assert.equal(value(), '\n');
    writeFileSync(attribute('1-4', 'authorized'), '1\n');
    await hosts.giveBack('1-4');
    assert.equal(value(), '1');
  });
});
