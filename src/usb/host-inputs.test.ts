import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { readHostInputs } from './host-inputs.ts';
import type { HostTree, TreeInput } from './testing/host-tree.ts';
import * as hosts from './testing/hosts.ts';

const trees: HostTree[] = [];

function made(tree: HostTree): HostTree {
  trees.push(tree);
  return tree;
}

async function summary(tree: HostTree): Promise<string[]> {
  const inputs = await readHostInputs(tree.roots);
  return inputs.map(({ name, kinds, bus, busids, isReady }) =>
    [bus, kinds.join('+'), name, ...busids, ...(isReady ? [] : ['announced'])].join(' | '),
  );
}

suite('keyboards and pointers of a host', () => {
  after(() => {
    for (const tree of trees) tree.remove();
  });

  test('a laptop: both inside; buttons, switches, speaker and video bus are neither', async () => {
    assert.deepEqual(await summary(made(hosts.laptop())), [
      'built-in | keyboard | AT Translated Set 2 keyboard',
      'built-in | pointer | ELAN0501:00 Touchpad',
    ]);
  });

  test('a desktop: what a keyboard has besides keys is no keyboard', async () => {
    assert.deepEqual(await summary(made(hosts.desktop())), [
      'ps2 | keyboard | AT Translated Set 2 keyboard',
      'usb | keyboard | USB Keyboard | 1-3',
      'usb | pointer | USB Mouse | 1-4',
    ]);
  });

  test('a receiver, a KVM switch, a server', async () => {
    assert.deepEqual(await summary(made(hosts.wirelessReceiver())), [
      'usb | keyboard | Logitech USB Receiver | 1-2',
      'usb | pointer | Logitech USB Receiver Mouse | 1-2',
    ]);
    assert.deepEqual(await summary(made(hosts.kvmSwitch())), [
      'usb | keyboard | USB Keyboard | 1-1.2.1',
      'usb | pointer | USB Mouse | 1-1.2.2',
    ]);
    assert.deepEqual(await summary(made(hosts.server())), []);
  });

  test('by what they announce', async () => {
    const tree = made(hosts.pc());
    const at = 'devices/pci0000:00/0000:00:15.0/i2c-0';
    for (const looks of ['numericPad', 'joystick', 'consumerControl', 'touchscreen', 'mouse', 'keyboard'] as const) {
      tree.input({ at, name: looks, bus: '0018', looks });
    }
    assert.deepEqual(await summary(tree), [
      'built-in | pointer | touchscreen',
      'built-in | pointer | mouse',
      'built-in | keyboard | keyboard',
    ]);
  });

  test('virtual ones, whatever bus they claim', async () => {
    const tree = made(hosts.pc());
    tree.bus(3, tree.folder('devices/platform/vhci_hcd.0'));
    const rows: readonly Omit<TreeInput, 'looks'>[] = [
      { at: 'devices/virtual', name: 'uinput', bus: '0003' },
      { at: 'devices/virtual', name: 'uinput i8042', bus: '0011' },
      { at: 'devices/vkbd-0', name: 'Xen Virtual Keyboard', phys: 'xenbus/device/vkbd/0', bus: '0001' },
      { at: 'devices/pci0000:00/0000:00:05.0/virtio2', name: 'virtio', bus: '0006' },
      { at: 'devices/virtual/misc/uhid/0003:1:1.1', name: 'uhid', bus: '0003' },
    ];
    for (const row of rows) tree.input({ ...row, looks: 'keyboard' });
    tree.usb('3-1', { interfaces: [['030101', 'usbhid']] });
    tree.input({ at: tree.at('3-1:1.0'), name: 'of another machine', looks: 'keyboard' });
    assert.deepEqual(await summary(tree), [
      'virtual | keyboard | uinput',
      'virtual | keyboard | uinput i8042',
      'virtual | keyboard | Xen Virtual Keyboard',
      'virtual | keyboard | virtio',
      'virtual | keyboard | uhid',
      'virtual | keyboard | of another machine | 3-1',
    ]);
  });

  test('Bluetooth depends on its adapter, and on each where the adapter is not told', async () => {
    const tree = made(hosts.pc());
    hosts.bluetoothAdapter(tree, '1-9');
    const below = `${tree.at('1-9:1.0')}/bluetooth/hci0/hci0:256/0005:046D:B342.0003`;
    tree.input({ at: below, name: 'K380', bus: '0005', looks: 'keyboard' });
    const uhid = 'devices/virtual/misc/uhid/0005:1D50:615E.0019';
    tree.input({ at: uhid, name: 'Toucan', phys: 'a0:ad:9f:72:f6:6b', bus: '0005', looks: 'keyboard' });
    assert.deepEqual(await summary(tree), ['bluetooth | keyboard | K380 | 1-9', 'bluetooth | keyboard | Toucan | 1-9']);
    tree.delete('sys/class/bluetooth/hci0');
    assert.deepEqual((await summary(tree)).at(-1), 'bluetooth | keyboard | Toucan');
  });

  test('a device whose drivers are still to come is announced; one that a guest has, or that is none, is not', async () => {
    const tree = made(hosts.pc());
    tree.usb('1-1', { product: 'new', interfaces: [['030101'], ['030000']] });
    tree.usb('1-2', {
      product: 'in a guest',
      interfaces: [
        ['030101', 'usbfs'],
        ['030102', 'usbfs'],
      ],
    });
    tree.usb('1-3', { product: 'UPS', interfaces: [['030000', 'usbhid']] });
    tree.usb('1-4', {
      product: 'receiver',
      interfaces: [
        ['030101', 'usbhid'],
        ['080650', 'usb-storage'],
      ],
    });
    tree.usb('1-5', { product: 'stick', interfaces: [['080650']] });
    tree.usb('1-6', { interfaces: [['030000']] });
    assert.deepEqual(await summary(tree), [
      'usb | keyboard+pointer | new | 1-1 | announced',
      'usb | keyboard | receiver | 1-4 | announced',
      'usb | keyboard+pointer | the device at 1-6 | 1-6 | announced',
    ]);
  });

  test('names are the devices’ own, and harmless', async () => {
    const tree = made(hosts.pc());
    tree.usb('1-1', { product: '\u001b[2J\u202ex', interfaces: [['030101', 'usbhid']] });
    tree.input({ at: tree.at('1-1:1.0'), name: '\u001b[2J\u202ey\nz', looks: 'keyboard' });
    assert.equal((await summary(tree))[0], 'usb | keyboard | [2J y z | 1-1');
    tree.drive('1-1:1.0', undefined);
    tree.delete('sys/class/input');
    assert.equal((await summary(tree))[0], 'usb | keyboard | [2J x | 1-1 | announced');
  });

  test('a device that goes while it is read is left out', async () => {
    const tree = made(hosts.desktop());
    tree.unplug('1-3');
    assert.deepEqual((await summary(tree)).length, 2);
  });
});
