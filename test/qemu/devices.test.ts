/** Devices on real QEMU, beyond the contract: controllers of each version, hostile serials, locks, what a death leaves. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import type { Driver } from '../../src/hypervisor/driver.ts';
import { isFault } from '../../src/lib/fault.ts';
import type { UsbDevice } from '../../src/model/usb.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { connectQmp, type QmpSession } from '../../src/wire/qmp/session.ts';
import { makeQemuRig, type QemuRig } from '../contract/qemu-rig.ts';
import { makeSoftwareDevice } from '../contract/software-device.ts';

const FIRST = { controller: 0, port: 1 };
const PATIENCE_MS = 20_000;

describe('devices on QEMU', () => {
  let rig: QemuRig;
  let driver: Driver;

  before(async () => {
    rig = await makeQemuRig();
    driver = await rig.openDriver();
  });
  afterEach(async () => {
    for (const { uuid } of await driver.list()) await driver.destroy(uuid);
  });
  after(async () => {
    await driver.close();
    await rig.close();
  });

  async function start(changes: Partial<VmConfig> = {}): Promise<VmConfig> {
    const config = rig.makeConfig(changes);
    await driver.start(config, { isPaused: true });
    return config;
  }

  /** Speaks QMP with a domain behind the driver's back. */
  async function behindTheBack<T>(config: VmConfig, act: (session: QmpSession) => Promise<T>): Promise<T> {
    await driver.close();
    const session = await connectQmp(join(rig.runtimeOf(config.uuid), 'qmp.sock'));
    try {
      return await act(session);
    } finally {
      session.close();
      driver = await rig.openDriver();
    }
  }

  async function waitSeen(config: VmConfig, expected: readonly string[]): Promise<void> {
    const guest = rig.guest(config.uuid);
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const seen = [...(await guest.usb())].sort();
      if (JSON.stringify(seen) === JSON.stringify([...expected].sort())) return;
      if (performance.now() > deadline) assert.deepEqual(seen, expected);
    }
  }

  test('the guest sees a keyboard and a stick on controllers of every version', async () => {
    const versions = [1, 2, 3] as const;
    const usbControllers = versions.map((version) => ({ type: 'auto', version, ports: 2 }) as const);
    const config = rig.makeConfig({ usbControllers });
    await driver.start(config, { isPaused: false });
    await rig.guest(config.uuid).waitReady();
    const devices: UsbDevice[] = [];
    for (const controller of [0, 1, 2]) {
      for (const [i, kind] of (['keyboard', 'storage'] as const).entries()) {
        const device = await rig.makeDevice(kind);
        await driver.attachDevice(config.uuid, { controller, port: i + 1 }, device);
        devices.push(device);
      }
    }
    await waitSeen(
      config,
      devices.map(({ vendorId, productId, untrustedSerial }) => `${vendorId}:${productId}:${untrustedSerial}`),
    );
    const found = await driver.find(config.uuid);
    assert.deepEqual(
      found?.attachments.map(({ deviceId }) => deviceId),
      devices.map(({ deviceId }) => deviceId),
    );
    assert.deepEqual(
      found?.controllers.map(({ version, speeds }) => [version, speeds.at(-1)]),
      [
        [1, 'full'],
        [2, 'high'],
        [3, 'super'],
      ],
    );
  });

  test('hostile serials of 126 characters go in, are read back, and reach the guest cut to what USB carries', async () => {
    const config = rig.makeConfig();
    await rig.boot(driver, config);
    const hostile = [
      'x'.repeat(126),
      '%'.repeat(126),
      '\u001b]0;,=\\"\'\u202e$(reboot)\n\r\t'.repeat(7).slice(0, 126),
      'é'.repeat(126),
    ];
    for (const [i, serial] of hostile.entries()) {
      const device = makeSoftwareDevice({ kind: 'tablet', busid: `2-${i + 1}`, serial });
      const attachment = await driver.attachDevice(config.uuid, FIRST, device);
      assert.equal(attachment.deviceId, device.deviceId);
      assert.deepEqual((await driver.find(config.uuid))?.attachments, [attachment]);
      await waitSeen(config, [`0627:0001:${asGuestSees(serial)}`]);
      await driver.detachDevice(config.uuid, attachment);
      await waitSeen(config, []);
    }
  });

  test('a stick that may be written is in one VM, one that may only be read in several', async () => {
    const [one, other] = [await start(), await start()];
    const device = await rig.makeDevice('storage');
    await driver.attachDevice(one.uuid, FIRST, device);
    await assert.rejects(driver.attachDevice(other.uuid, FIRST, device), (error) => {
      assert.ok(isFault(error, 'usb.attach_failed'));
      assert.match(error.message, /in use by another VM/);
      assert.match(error.hint ?? '', /read-only/);
      return true;
    });
    assert.deepEqual((await driver.find(other.uuid))?.attachments, []);
    const next = { controller: 0, port: 2 };
    const readOnly = await rig.makeDevice('storage');
    const shared = {
      ...readOnly,
      software: { kind: 'storage', isReadOnly: true, file: readOnly.software?.file ?? '' },
    } as const;
    await driver.attachDevice(one.uuid, next, shared);
    await driver.attachDevice(other.uuid, next, shared);
  });

  test('a stick without its file is a fault that says so, and leaves nothing', async () => {
    const { uuid } = await start();
    const device = makeSoftwareDevice({ kind: 'storage', busid: '1-1', serial: 'S', file: '/no/such,file' });
    await assert.rejects(driver.attachDevice(uuid, FIRST, device), /its file is not there/);
    const bare = makeSoftwareDevice({ kind: 'storage', busid: '1-1', serial: 'S' });
    await assert.rejects(driver.attachDevice(uuid, FIRST, bare), (error) => isFault(error, 'usb.file_needed'));
    assert.deepEqual((await driver.find(uuid))?.attachments, []);
    await driver.attachDevice(uuid, FIRST, await rig.makeDevice('storage'));
  });

  test('what a serial adapter is sent goes to its file', async () => {
    const config = rig.makeConfig();
    await rig.boot(driver, config);
    const file = join(rig.folder, 'serial,out=1');
    const device = makeSoftwareDevice({ kind: 'serial', busid: '1-1', serial: 'S', file });
    const attachment = await driver.attachDevice(config.uuid, FIRST, device);
    await waitSeen(config, ['0403:6001:S']);
    await driver.detachDevice(config.uuid, attachment);
    assert.equal(await readFile(file, 'utf8'), '');
  });

  test('content that an attach left behind when we died is removed at adoption, and when it is met', async () => {
    const config = await start();
    const file = join(rig.folder, 'left.img');
    await writeFile(file, Buffer.alloc(1024 * 1024));
    const leave = async (session: QmpSession) => {
      for (const port of [1, 2]) {
        const node = { driver: 'raw', 'node-name': `usb-0-${port}`, 'read-only': port === 2 };
        const path = port === 1 ? file : (await rig.makeDevice('storage')).software?.file;
        await session.execute('blockdev-add', { ...node, file: { driver: 'file', filename: path } });
      }
      await session.execute('chardev-add', { id: 'usb-0-3', backend: { type: 'null', data: {} } });
    };
    await behindTheBack(config, leave);
    assert.deepEqual((await driver.find(config.uuid))?.attachments, []);
    const names = await behindTheBack(config, async (session) => [
      ...(await session.execute('query-named-block-nodes', { flat: true })).map((node) => node['node-name']),
      ...(await session.execute('query-chardev')).map(({ label }) => label),
    ]);
    assert.deepEqual(
      names.filter((name) => name?.startsWith('usb-')),
      [],
    );
    const device = makeSoftwareDevice({ kind: 'storage', busid: '1-1', serial: 'S', file });
    await driver.attachDevice(config.uuid, FIRST, device);
  });

  test('a device that somebody else removed is gone for us too', async () => {
    const config = await start();
    const attachment = await driver.attachDevice(config.uuid, FIRST, await rig.makeDevice('storage'));
    await behindTheBack(config, async (session) => {
      const children = await session.execute('qom-list', { path: '/machine/peripheral' });
      const id = children.find(({ name }) => name.startsWith('usb.'))?.name ?? '';
      await session.executeUntil('device_del', { id }, ({ name }) => name === 'DEVICE_DELETED');
    });
    assert.deepEqual((await driver.find(config.uuid))?.attachments, []);
    await driver.detachDevice(config.uuid, attachment);
    await driver.attachDevice(config.uuid, FIRST, await rig.makeDevice('storage'));
  });

  test('attaches and detaches at different ports go side by side', async () => {
    const { uuid } = await start();
    const devices = await Promise.all(Array.from({ length: 8 }, () => rig.makeDevice('storage')));
    for (let turn = 0; turn < 2; turn++) {
      const attachments = await Promise.all(
        devices.map((device, i) => driver.attachDevice(uuid, { controller: 0, port: i + 1 }, device)),
      );
      assert.deepEqual((await driver.find(uuid))?.attachments, attachments);
      await Promise.all(attachments.map((attachment) => driver.detachDevice(uuid, attachment)));
      assert.deepEqual((await driver.find(uuid))?.attachments, []);
    }
  });

  test('a device of the host that is not there is gone, and one whose node is not there says so', async () => {
    const { uuid } = await start();
    const host = { bus: 1, devnum: 7 };
    const { software: _, ...plain } = makeSoftwareDevice({ kind: 'keyboard', busid: '1-2', serial: 'S' });
    const device: UsbDevice = { ...plain, backend: 'dom0', host };
    await assert.rejects(driver.attachDevice(uuid, FIRST, device), (error) => isFault(error, 'usb.device_gone'));
    await driver.close();
    driver = await rig.openDriver({ sysfsRoot: await makeSysfs(rig.folder, device), usbfsRoot: rig.folder });
    await assert.rejects(driver.attachDevice(uuid, FIRST, device), (error) => {
      assert.ok(isFault(error, 'usb.attach_failed'));
      assert.match(error.message, /its node .*001\/007 is not there/);
      return true;
    });
    assert.deepEqual((await driver.find(uuid))?.attachments, []);
    const other = { ...device, productId: 'ffff' };
    await assert.rejects(driver.attachDevice(uuid, FIRST, other), (error) => {
      assert.ok(isFault(error, 'usb.device_gone'));
      assert.match(error.hint ?? '', /0627:0001/);
      return true;
    });
  });

  test('a usb-host whose device QEMU lost keeps its slot under a generation that no device has, until it is in the way', async () => {
    const config = await start();
    const device = await rig.makeDevice('keyboard');
    await behindTheBack(config, async (session) => {
      const id = 'usb.0.1.dom0.1-2.b_2e1_2e7.0627_3a0001_3aS_3a030101';
      const place = { hostbus: 1, hostport: '2', vendorid: 0x627, productid: 1 };
      await session.execute('device_add', { driver: 'usb-host', id, bus: 'usbctrl-0-v3-p8.0', port: '1', ...place });
    });
    const lost = (await driver.find(config.uuid))?.attachments ?? [];
    assert.deepEqual(
      lost.map(({ backend, busid, generation }) => [backend, busid, generation]),
      [['dom0', '1-2', 'lost']],
    );
    await driver.attachDevice(config.uuid, FIRST, device);
    assert.equal((await driver.find(config.uuid))?.attachments.length, 1);
  });
});

/** Each UTF-8 byte as a character, 126 at most, whole characters only. */
function asGuestSees(serial: string): string {
  const characters = [...serial];
  while (Buffer.byteLength(characters.join('')) > 126) characters.pop();
  return Buffer.from(characters.join('')).toString('latin1');
}

async function makeSysfs(folder: string, { busid, vendorId, productId }: UsbDevice): Promise<string> {
  const root = join(folder, 'sys');
  const place = join(root, 'bus/usb/devices', busid);
  await mkdir(place, { recursive: true });
  const attributes = { idVendor: vendorId, idProduct: productId, devnum: '7' };
  for (const [name, value] of Object.entries(attributes)) await writeFile(join(place, name), `${value}\n`);
  return root;
}
