import assert from 'node:assert/strict';
import { linkSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { type FaultCode, isFault } from '../lib/fault.ts';
import type { StoredSoftwareDevice } from '../model/usb.ts';
import { type SoftwareDeviceStore, VirtualPorts } from './virtual.ts';

class MemoryStore implements SoftwareDeviceStore {
  devices: readonly StoredSoftwareDevice[] = [];
  isFull = false;

  load(): readonly StoredSoftwareDevice[] {
    return this.devices;
  }

  save(devices: readonly StoredSoftwareDevice[]): void {
    if (this.isFull) throw new Error('disk full');
    this.devices = devices;
  }
}

suite('VirtualPorts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'usher-virtual-'));
  after(() => rmSync(folder, { recursive: true }));
  const image = join(folder, 'stick.img');
  writeFileSync(image, 'content');
  const stick = { kind: 'storage', file: image, serial: 'S1' } as const;

  const refused = (code: FaultCode, plug: Promise<unknown>) => assert.rejects(plug, (error) => isFault(error, code));

  test('devices are what a guest sees of them', async () => {
    const ports = new VirtualPorts(new MemoryStore());
    const device = await ports.plug({ busid: '1-2', software: stick });
    const { generation, ...rest } = device;
    assert.match(generation, /^plug-[0-9a-f]{12}$/);
    assert.deepEqual(rest, {
      backend: 'virtual',
      busid: '1-2',
      deviceId: '46f4:0001:S1:080650',
      vendorId: '46f4',
      productId: '0001',
      untrustedSerial: 'S1',
      untrustedManufacturer: 'QEMU',
      untrustedProduct: 'QEMU USB HARDDRIVE',
      speed: 'super',
      interfaces: ['080650'],
      software: stick,
    });
    const others = [
      ['keyboard', '0627:0001::030101'],
      ['mouse', '0627:0001::030102'],
      ['tablet', '0627:0001::030000'],
      ['serial', '0403:6001::ffffff'],
    ] as const;
    for (const [i, [kind, deviceId]] of others.entries()) {
      assert.equal((await ports.plug({ busid: `2-${i + 1}`, software: { kind } })).deviceId, deviceId);
    }
    assert.equal((await ports.list()).length, 5);
  });

  test('who comes right behind a plug can wait for it', async () => {
    const ports = new VirtualPorts(new MemoryStore());
    void ports.plug({ busid: '1-1', software: { kind: 'mouse' } });
    await ports.settled('1-1');
    assert.equal(ports.unplug('1-1').busid, '1-1');
    const wrong = refused('usb.device_invalid', ports.plug({ busid: 'x', software: { kind: 'mouse' } }));
    await ports.settled('x');
    await ports.settled('1-9');
    await wrong;
  });

  test('they outlive the daemon with their generation; each plug has a new one', async () => {
    const store = new MemoryStore();
    const before = new VirtualPorts(store);
    const first = await before.plug({ busid: '1-2', software: stick });
    const later = new VirtualPorts(store);
    assert.deepEqual(await later.list(), [first]);
    assert.deepEqual(later.unplug('1-2'), first);
    const second = await later.plug({ busid: '1-2', software: stick });
    assert.notEqual(second.generation, first.generation);
    assert.deepEqual(await new VirtualPorts(store).list(), [second]);
  });

  test('hints at each change', async () => {
    const ports = new VirtualPorts(new MemoryStore());
    let hints = 0;
    const stop = ports.watch(() => hints++);
    await ports.plug({ busid: '1-2', software: stick });
    ports.unplug('1-2');
    stop();
    await ports.plug({ busid: '1-2', software: stick });
    assert.equal(hints, 2);
  });

  test('a place is taken once, and has to be one', async () => {
    const ports = new VirtualPorts(new MemoryStore());
    await ports.plug({ busid: '1-2', software: { kind: 'mouse' } });
    await refused('usb.device_exists', ports.plug({ busid: '1-2', software: { kind: 'mouse' } }));
    await refused('usb.device_invalid', ports.plug({ busid: '../x', software: { kind: 'mouse' } }));
    assert.throws(
      () => ports.unplug('1-3'),
      (error) => isFault(error, 'usb.device_not_found'),
    );
  });

  test('storage needs a file that is there and can be used', async () => {
    const ports = new VirtualPorts(new MemoryStore());
    const plug = (file?: string) =>
      ports.plug({ busid: '1-1', software: { kind: 'storage', ...(file === undefined ? {} : { file }) } });
    await refused('usb.file_needed', plug());
    await refused('file.unreadable', plug(join(folder, 'missing.img')));
    await refused('file.unreadable', plug(folder));
    await refused('file.unreadable', plug('/dev/null'));
    assert.deepEqual(await ports.list(), []);
  });

  test('a file is the content of one device, by whatever name', async () => {
    const ports = new VirtualPorts(new MemoryStore());
    const [link, hard] = [join(folder, 'link.img'), join(folder, 'hard.img')];
    symlinkSync(image, link);
    linkSync(image, hard);
    await ports.plug({ busid: '1-1', software: stick });
    for (const file of [image, link, hard, `${folder}/../${folder.split('/').pop()}/stick.img`]) {
      await refused('usb.file_busy', ports.plug({ busid: '1-2', software: { kind: 'storage', file } }));
    }
    ports.unplug('1-1');
    const plugs = ['1-3', '1-4'].map((busid) => ports.plug({ busid, software: stick }));
    const results = await Promise.allSettled(plugs);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected'],
      'also when both come at once',
    );
  });

  test('where a serial device writes to may not exist yet, but its folder has to', async () => {
    const ports = new VirtualPorts(new MemoryStore());
    const plug = (file: string) => ports.plug({ busid: '1-1', software: { kind: 'serial', file } });
    await refused('file.unwritable', plug(join(folder, 'missing/out.log')));
    await refused('file.unwritable', plug(folder));
    await plug(join(folder, 'out.log'));
    assert.ok(!readdirSync(folder).includes('out.log'));
  });

  test('what cannot be stored is not plugged', async () => {
    const store = new MemoryStore();
    const ports = new VirtualPorts(store);
    store.isFull = true;
    await assert.rejects(ports.plug({ busid: '1-1', software: stick }), /disk full/);
    assert.deepEqual(await ports.list(), []);
    store.isFull = false;
    await ports.plug({ busid: '1-1', software: stick });
    store.isFull = true;
    assert.throws(() => ports.unplug('1-1'), /disk full/);
    assert.equal((await ports.list()).length, 1);
  });
});
