import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readControllers, tellController } from './given-away.ts';
import { HostTree } from './testing/host-tree.ts';

test('which USB controllers the host has, which are given away, which nobody has', async () => {
  const tree = new HostTree();
  try {
    tree.pci('0000:00:14.0', '0x0c0330', 'xhci_hcd');
    tree.pci('0000:00:1a.0', '0x0c0320', 'pciback');
    tree.pci('0000:00:1d.0', '0x0c0310', 'vfio-pci');
    tree.pci('0000:00:1d.1', '0x0c0300', 'pci-stub');
    tree.pci('0000:03:00.0', '0x0c0330', 'uio_pci_generic');
    tree.pci('0000:04:00.0', '0x0c0380');
    tree.pci('0000:05:00.0', '0x0c03fe', 'dwc3-pci');
    tree.pci('0000:06:00.0', '0x0c0340', 'thunderbolt');
    tree.pci('0000:07:00.0', '0x020000', 'vfio-pci');
    const controllers = await readControllers(tree.roots);
    assert.deepEqual(
      controllers.map(({ address, standard, driver, keeper }) => [address, standard, driver, keeper]),
      [
        ['0000:00:14.0', 'xHCI', 'xhci_hcd', 'host'],
        ['0000:00:1a.0', 'EHCI', 'pciback', 'elsewhere'],
        ['0000:00:1d.0', 'OHCI', 'vfio-pci', 'elsewhere'],
        ['0000:00:1d.1', 'UHCI', 'pci-stub', 'elsewhere'],
        ['0000:03:00.0', 'xHCI', 'uio_pci_generic', 'elsewhere'],
        ['0000:04:00.0', 'USB', undefined, 'nobody'],
      ],
    );
    assert.deepEqual(
      [controllers[0], controllers[1], controllers[5]].map((one) => one && tellController(one)),
      [
        "The xHCI controller 0000:00:14.0 is the host's (xhci_hcd).",
        'The EHCI controller 0000:00:1a.0 is given away (pciback): its devices are not on this host.',
        'The USB controller 0000:04:00.0 has no kernel driver: its devices are not seen.',
      ],
    );
    tree.delete('sys/bus/pci');
    assert.deepEqual(await readControllers(tree.roots), []);
  } finally {
    tree.remove();
  }
});
