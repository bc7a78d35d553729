/** Keys of a VM's devices: disks, network cards, PCI devices, serial port, display, USB controllers. */
import { printable } from '../lib/text.ts';
import { parseDisk, printDisk } from './disk.ts';
import { parseDisplay, printDisplay } from './display.ts';
import { parseNic, printNic } from './nic.ts';
import { parsePci, printPci } from './pci.ts';
import { parseControllers, printControllers } from './usbctrl.ts';
import type { ValueContext } from './values.ts';
import {
  booleanRow,
  depends,
  type HonourRule,
  honoured,
  hvmOnly,
  integerRow,
  row,
  SIMULATED,
  type VmKey,
} from './vm-key.ts';

const disksOf = (says: string): HonourRule =>
  depends(`${says}; opened by cryptsetup with a key-file`, (text) =>
    /:key-file=/.test(text)
      ? { does: 'honoured', says: `cryptsetup open --type plain; ${says}` }
      : { does: 'honoured', says },
  );

const displayOf = (says: string): HonourRule =>
  depends(`${says}; sdl and intel are refused`, (text) => {
    const protocol = text.split(':')[0]?.trim();
    if (protocol === 'sdl') {
      const why = 'a VM outlives the session that it was started in, so it cannot have a window there; take vnc';
      return { does: 'refused', why };
    }
    if (protocol !== 'intel') return { does: 'honoured', says: protocol === 'none' ? 'nothing is shown' : says };
    return { does: 'refused', why: 'surfaces of Intel graphics are drawn by a program of OpenXT alone; take vnc' };
  });

export const DEVICE_KEYS: readonly VmKey[] = [
  row('disks', {
    key: 'disk',
    type: 'text',
    takes:
      'path:type:target:mode:kind; type phy, file, aio, qcow or vhd; target hda to hdd, sda to sdz, xvda to xvdp; mode r or w; kind disk or cdrom. Behind it may stand an empty snapshot mode (or none), and cipher=, key-size=, key-file=',
    otherwise: 'none',
    meaning:
      'A disk, such as /vm/root.img:file:hda:w:disk. One a line. phy, file and aio are raw images; the format is never guessed. One with a key-file is encrypted as a whole, in the plain mode of cryptsetup: usually cipher=aes-xts-plain and key-size=256; the key is the first bytes of the file.',
    isList: true,
    honours: {
      xen: disksOf('xl: disk'),
      qemu: disksOf('hd* is a SATA disk, sd* a SCSI disk, xvd* a virtio disk'),
      simulator: SIMULATED,
    },
    parse(text, context, before = []) {
      const disk = parseDisk(text, context);
      if (disk === undefined) return undefined;
      if (!before.some((other) => other.target === disk.target)) return [...before, disk];
      return context.error(`There are two disks with the target ${disk.target}.`);
    },
    print: (value) => value.map(printDisk),
  }),
  row('nics', {
    key: 'nic',
    aliases: ['vif'],
    type: 'text',
    takes: 'bridge=NAME,mac=ADDRESS,id=N,model=NAME, any of them, or nothing',
    otherwise: 'none',
    meaning:
      "A network card. One a line. Without a bridge it is on the host's first; without a mac it has one that is derived from uuid and id and stays.",
    isList: true,
    empty: 'a value',
    honours: {
      xen: honoured('xl: vif'),
      qemu: honoured(
        "virtio-net (or model) on a tap of the bridge; behind QEMU's own NAT, with a warning, where there is no bridge or Usher is not root",
      ),
      simulator: SIMULATED,
    },
    parse: parseNic,
    print: (value) => value.map(printNic),
  }),
  row('pciDevices', {
    key: 'pci',
    type: 'text',
    takes:
      'devid,bind,domain:bus:device.function[,msitranslate=0|1][,power_mgmt=0|1]; devid and the word bind may be missing',
    otherwise: 'none',
    meaning: 'A PCI device of the host that the guest gets. One a line. With bind it is taken from its kernel driver.',
    isList: true,
    honours: {
      xen: honoured('xl: pci; without bind the device has to be assignable already'),
      qemu: depends('vfio-pci; the device has to be bound to it, bind is refused', (text) =>
        /(^|,)\s*bind\s*(,|$)/.test(text)
          ? {
              does: 'refused',
              why: 'with QEMU a device is bound to vfio-pci by the host (driverctl set-override); take "bind" out',
            }
          : { does: 'honoured', says: 'vfio-pci' },
      ),
      simulator: SIMULATED,
    },
    parse: parsePci,
    print: (value) => value.map(printPci),
  }),
  row('serial', {
    key: 'serial',
    type: 'text',
    takes: 'pty or tcp:ADDRESS:PORT',
    otherwise: "the VM's console socket and log",
    meaning: 'Where the second serial port of the guest goes; the first is the console.',
    empty: 'as no line',
    honours: {
      xen: hvmOnly(honoured('a serial port of the device model'), 'no serial port, but its console socket and log'),
      qemu: honoured('a serial port on a pty, or on a TCP port that is listened on'),
      simulator: SIMULATED,
    },
    parse: parseSerial,
    print: (value) => value ?? [],
  }),
  row('display', {
    key: 'display',
    type: 'text',
    takes: 'none, vnc[:use-port-unused,keymap=LAYOUT,port=N], sdl or intel',
    otherwise: 'none',
    meaning:
      "Where the guest's screen is shown. port is a display number, or from 5900 on the TCP port itself; it is listened on at 127.0.0.1, without a password.",
    empty: 'as no line',
    honours: {
      xen: hvmOnly(displayOf('xl: vnc, vncdisplay, vncunused, keymap'), 'no screen that Usher could show'),
      qemu: displayOf("-vnc; without a port on a socket for Usher's user alone, vnc.sock in the VM's runtime folder"),
      simulator: SIMULATED,
    },
    parse: parseDisplay,
    print: printDisplay,
  }),
  integerRow('videoMemoryMiB', {
    key: 'videoram',
    unit: 'MiB',
    ...{ min: 1, max: 512 },
    otherwise: "the hypervisor's own choice",
    meaning: 'The memory of the video card.',
    honours: {
      xen: hvmOnly(honoured('xl: videoram'), 'no video card'),
      qemu: depends('vgamem_mb; ignored without a display, or when it is no power of two', (text, { draft }) =>
        draft.display?.protocol !== 'vnc'
          ? { does: 'ignored', why: 'without a display there is no video card' }
          : (Number(text) & (Number(text) - 1)) === 0
            ? { does: 'honoured', says: 'vgamem_mb' }
            : { does: 'ignored', why: 'it is no power of two' },
      ),
      simulator: SIMULATED,
    },
  }),
  row('usbControllers', {
    key: 'usbctrl',
    type: 'text',
    takes: 'type=auto|qusb|pv|devicemodel,version=1|2|3,ports=N, as in xl.cfg(5), or none',
    otherwise: 'one of version 3 with 8 ports',
    meaning:
      "A virtual USB controller. One a line, or a list in brackets. devicemodel is emulated: version 1 has 2 ports, 2 has 6, 3 up to 15. qusb (version 1 or 2, up to 31 ports) is for the Xen guests that have no emulated devices, pv and pvh. auto is what fits the guest. Usher's own key.",
    isList: true,
    honours: {
      xen: honoured('xl: usbctrl; devicemodel is refused for pv and pvh'),
      qemu: honoured('emulated; qusb and pv are refused'),
      simulator: honoured('simulated'),
    },
    parse: parseControllers,
    print: printControllers,
  }),
  booleanRow('pciMsiTranslate', {
    key: 'pci-msitranslate',
    otherwise: "the hypervisor's own choice",
    meaning: 'Whether interrupts of PCI devices are translated from MSI to INTx where a pci line says nothing of it.',
    honours: {
      xen: honoured('xl: pci_msitranslate'),
      qemu: depends('vfio translates none; 1 is ignored', (text) =>
        ['0', 'n', 'no', 'false'].includes(text)
          ? { does: 'honoured', says: 'vfio translates none' }
          : { does: 'ignored', why: 'vfio hands interrupts on as they are' },
      ),
      simulator: SIMULATED,
    },
  }),
  booleanRow('pciPowerManagement', {
    key: 'pci-power-management',
    otherwise: "the hypervisor's own choice",
    meaning: 'Whether the guest may manage the power states of PCI devices where a pci line says nothing of it.',
    honours: {
      xen: honoured('xl: pci_power_mgmt'),
      qemu: depends('vfio always lets it; 0 is ignored', (text) =>
        ['0', 'n', 'no', 'false'].includes(text)
          ? { does: 'ignored', why: 'vfio always lets a guest manage them' }
          : { does: 'honoured', says: 'vfio lets it' },
      ),
      simulator: SIMULATED,
    },
  }),
];

function parseSerial(text: string, context: ValueContext): string | undefined {
  if (text === 'pty') return text;
  const port = Number(/^tcp:[^\s:,][^\s,]*:(\d{1,5})$/.exec(text)?.[1]);
  if (port >= 1 && port <= 65_535) return text;
  return context.error(`"serial" is pty or tcp:ADDRESS:PORT, not "${printable(text, 60)}".`);
}
