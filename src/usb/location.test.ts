import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, beforeEach, suite, test } from 'node:test';
import { isOnVirtualController, readAttachedAs, readLocation } from './location.ts';
import { HostTree } from './testing/host-tree.ts';

const XHCI = '0x0c0330';
const PLAIN = { interfaces: [['080650']] } as const;

let tree = new HostTree();

function plug(busid: string, removable?: string): string {
  return join(tree.roots.sysRoot, tree.usb(busid, { ...PLAIN, ...(removable === undefined ? {} : { removable }) }));
}

suite('locations', () => {
  beforeEach(() => {
    tree.remove();
    tree = new HostTree();
  });
  after(() => tree.remove());

  test('the controller and the ports, not the bus', async () => {
    const before = tree.pci('0000:00:14.0', XHCI);
    tree.bus(1, before);
    plug('1-1');
    const location = await readLocation(plug('1-1.4'));
    assert.equal(location, '0000:00:14.0/1.4');
    tree.remove();
    tree = new HostTree();
    tree.bus(3, tree.pci('0000:00:14.0', XHCI));
    plug('3-1');
    assert.equal(await readLocation(plug('3-1.4')), location);
  });

  test('a socket has one location for both speeds, by the peer of its SuperSpeed port', async () => {
    const controller = tree.pci('0000:00:14.0', XHCI);
    tree.bus(1, controller);
    tree.bus(2, controller, '10000');
    tree.peers([1, 7], [2, 1]);
    assert.equal(await readLocation(plug('1-7')), '0000:00:14.0/7');
    assert.equal(await readLocation(plug('2-1')), '0000:00:14.0/7');
    assert.equal(await readLocation(plug('2-1.3')), '0000:00:14.0/7.3');
    assert.equal(await readLocation(plug('1-1')), '0000:00:14.0/1', 'another socket, which has the same number');
    assert.equal(await readLocation(plug('2-2')), '0000:00:14.0/ss2', 'without a peer it is never taken for port 2');
  });

  test('the innermost PCI device, whatever bridges are above, and long PCI domains', async () => {
    tree.bus(1, tree.pci('0000:02:00.0', XHCI, 'xhci_hcd', '0000:00:1c.4'));
    tree.bus(2, tree.pci('10000:e1:00.0', XHCI, 'xhci_hcd', '0000:00:0e.0/pci10000:e0/10000:e0:06.0'));
    assert.equal(await readLocation(plug('1-2')), '0000:02:00.0/2');
    assert.equal(await readLocation(plug('2-2')), '10000:e1:00.0/2');
  });

  test('controllers that are no PCI devices go by their names; one that a PCI device brings adds it', async () => {
    tree.bus(1, tree.folder('devices/platform/dummy_hcd.0'));
    tree.bus(2, tree.folder('devices/platform/soc/fe980000.usb'));
    const pci = tree.pci('0000:00:0d.1', '0x0c03fe');
    tree.bus(3, tree.folder(`${pci}/dwc3.1.auto/xhci-hcd.2.auto`));
    tree.bus(4, tree.folder(`${pci}/dwc3.3.auto/xhci-hcd.4.auto`));
    assert.equal(await readLocation(plug('1-1')), 'dummy_hcd.0/1');
    assert.equal(await readLocation(plug('2-1')), 'fe980000.usb/1');
    assert.equal(await readLocation(plug('3-1')), '0000:00:0d.1+xhci-hcd.2.auto/1');
    assert.equal(await readLocation(plug('4-1')), '0000:00:0d.1+xhci-hcd.4.auto/1');
  });

  test('what is below no root hub has none', async () => {
    assert.equal(await readLocation('/sys/devices/pci0000:00/0000:00:14.0'), undefined);
  });

  test('removable when anything on the way is, built in when all is fixed, else unknown', async () => {
    tree.bus(1, tree.pci('0000:00:14.0', XHCI));
    const answers = new Map<string, string | undefined>();
    for (const [busid, removable] of [
      ['1-1', 'removable'],
      ['1-2', 'fixed'],
      ['1-3', 'unknown'],
      ['1-4', undefined],
      ['1-1.1', 'fixed'],
      ['1-1.2', 'unknown'],
      ['1-2.1', 'fixed'],
      ['1-2.2', 'removable'],
      ['1-2.3', 'unknown'],
      ['1-3.1', 'fixed'],
    ] as const)
      answers.set(busid, await readAttachedAs(plug(busid, removable)));
    assert.deepEqual(Object.fromEntries(answers), {
      '1-1': 'removable',
      '1-2': 'fixed',
      '1-3': undefined,
      '1-4': undefined,
      '1-1.1': 'removable',
      '1-1.2': 'removable',
      '1-2.1': 'fixed',
      '1-2.2': 'removable',
      '1-2.3': undefined,
      '1-3.1': undefined,
    });
  });

  test('behind a dock whose controller can be unplugged all is removable', async () => {
    const bridge = tree.folder('devices/pci0000:00/0000:00:07.0/0000:20:00.0', { removable: 'removable' });
    tree.bus(5, tree.folder(`${bridge}/0000:21:02.0`));
    assert.equal(await readAttachedAs(plug('5-1', 'fixed')), 'removable');
  });

  test('controllers of other machines', () => {
    assert.ok(isOnVirtualController('/sys/devices/platform/vhci_hcd.0/usb3/3-1'));
    assert.ok(isOnVirtualController('/sys/devices/vusb-0/usb3/3-1'));
    assert.ok(!isOnVirtualController('/sys/devices/platform/dummy_hcd.0/usb3/3-1'));
    assert.ok(!isOnVirtualController('/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1'));
  });
});
