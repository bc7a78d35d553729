/** For tests only: whole hosts, as their sysfs and procfs look. Each has a SATA disk with its root file system. */
import { HostTree } from './host-tree.ts';

const XHCI = '0x0c0330';
const KEYBOARD = { interfaces: [['030101', 'usbhid']], product: 'USB Keyboard' } as const;
const MOUSE = { interfaces: [['030102', 'usbhid']], product: 'USB Mouse', devnum: 6 } as const;
const STICK = { interfaces: [['080650', 'usb-storage']], product: 'Stick', vendor: '0951', devnum: 7 } as const;

/** One xHCI controller with a bus of each speed, and what every PC announces and nobody types on. */
export function pc(chassis = '3'): HostTree {
  const tree = new HostTree();
  const xhci = tree.pci('0000:00:14.0', XHCI, 'xhci_hcd');
  tree.bus(1, xhci);
  tree.bus(2, xhci, '10000');
  tree.folder('class/dmi/id', { chassis_type: chassis });
  tree.input({ at: 'devices/LNXSYSTM:00/LNXPWRBN:00', name: 'Power Button', bus: '0019', looks: 'powerButton' });
  tree.input({ at: 'devices/LNXSYSTM:00/PNP0C0D:00', name: 'Lid Switch', bus: '0019', looks: 'lidSwitch' });
  tree.input({ at: 'devices/pci0000:00/0000:00:02.0/LNXVIDEO:00', name: 'Video Bus', bus: '0019', looks: 'videoBus' });
  tree.input({
    at: 'devices/platform/pcspkr',
    name: 'PC Speaker',
    phys: 'isa0061/input0',
    bus: '0010',
    looks: 'pcSpeaker',
  });
  return tree;
}

/** The keyboard that an i8042 controller announces. */
export function ps2Keyboard(tree: HostTree): void {
  tree.input({
    at: 'devices/platform/i8042/serio0',
    name: 'AT Translated Set 2 keyboard',
    phys: 'isa0060/serio0/input0',
    bus: '0011',
    vendor: '0001',
    looks: 'ps2Keyboard',
  });
}

export function usbKeyboard(tree: HostTree, busid: string): void {
  tree.usb(busid, KEYBOARD);
  const at = `${tree.at(`${busid}:1.0`)}/0003:046D:C31C.0001`;
  tree.input({ at, name: 'USB Keyboard', phys: `usb-0000:00:14.0-${busid}/input0`, looks: 'keyboard' });
  tree.input({ at, name: 'USB Keyboard Consumer Control', phys: '', looks: 'consumerControl' });
}

export function usbMouse(tree: HostTree, busid: string): void {
  tree.usb(busid, MOUSE);
  const at = `${tree.at(`${busid}:1.0`)}/0003:046D:C077.0002`;
  tree.input({ at, name: 'USB Mouse', phys: `usb-0000:00:14.0-${busid}/input0`, looks: 'mouse' });
}

/** A stick at the busid, whose disk has one partition, `8:17` when the disk is sdb. */
export function stick(tree: HostTree, busid: string, disk = 'sdb', partitions = { [`${disk}1`]: '8:17' }): void {
  tree.usb(busid, STICK);
  tree.block(disk, { number: '8:16', at: tree.scsi(`${busid}:1.0`, 6), partitions });
}

export function bluetoothAdapter(tree: HostTree, busid: string): void {
  tree.usb(busid, { product: 'Bluetooth Radio', vendor: '8087', interfaces: [['e00101', 'btusb']] });
  tree.link('class/bluetooth/hci0', tree.folder(`${tree.at(`${busid}:1.0`)}/bluetooth/hci0`));
}

/** PS/2 keyboard and I2C touchpad inside. */
export function laptop(): HostTree {
  const tree = pc('10');
  ps2Keyboard(tree);
  const at = 'devices/pci0000:00/0000:00:15.0/i2c_designware.0/i2c-0/i2c-ELAN0501:00/0018:04F3:3022.0001';
  tree.input({
    at,
    name: 'ELAN0501:00 Touchpad',
    phys: 'i2c-ELAN0501:00',
    bus: '0018',
    vendor: '04f3',
    looks: 'touchpad',
  });
  return tree;
}

/** One USB keyboard, one USB mouse, and a board that announces a PS/2 keyboard that is not there. */
export function desktop(): HostTree {
  const tree = pc();
  ps2Keyboard(tree);
  usbKeyboard(tree, '1-3');
  usbMouse(tree, '1-4');
  return tree;
}

/** A receiver that is keyboard and mouse, and nothing else. */
export function wirelessReceiver(): HostTree {
  const tree = pc();
  tree.usb('1-2', {
    product: 'USB Receiver',
    interfaces: [
      ['030101', 'usbhid'],
      ['030102', 'usbhid'],
      ['030000', 'usbhid'],
    ],
  });
  tree.input({ at: `${tree.at('1-2:1.0')}/0003:046D:C534.0003`, name: 'Logitech USB Receiver', looks: 'keyboard' });
  tree.input({ at: `${tree.at('1-2:1.1')}/0003:046D:C534.0004`, name: 'Logitech USB Receiver Mouse', looks: 'mouse' });
  return tree;
}

/** No input devices but a power button, and a stick that nobody uses. */
export function server(): HostTree {
  const tree = pc('23');
  stick(tree, '1-6');
  return tree;
}

/** Debian live: the root is an overlay over a squashfs in a file on a stick. */
export function liveStick(): HostTree {
  const tree = pc();
  stick(tree, '1-5');
  tree.unmountAll();
  tree.block('loop0', {
    number: '7:0',
    attributes: { 'loop/backing_file': '/run/live/medium/live/filesystem.squashfs' },
  });
  tree.mount('/run/live/medium', '8:17', 'iso9660', '/dev/sdb1', 'ro');
  tree.mount('/run/live/rootfs/filesystem.squashfs', '7:0', 'squashfs', '/dev/loop0', 'ro');
  tree.mount('/run/live/overlay', '0:30', 'tmpfs', 'tmpfs');
  const layers =
    'lowerdir=/run/live/rootfs/filesystem.squashfs/,upperdir=/run/live/overlay/rw,workdir=/run/live/overlay/work';
  tree.mount('/', '0:31', 'overlay', 'overlay', `rw,${layers}`);
  return tree;
}

/** A USB disk with an encrypted physical volume, a logical volume on it, and a swap partition. */
export function lvmDisk(): HostTree {
  const tree = pc();
  stick(tree, '1-1', 'sdb', { sdb1: '8:17', sdb2: '8:18' });
  tree.block('dm-0', { number: '253:0', on: ['sdb1'], attributes: { 'dm/name': 'luks-backup' } });
  tree.block('dm-1', { number: '253:1', on: ['dm-0'], attributes: { 'dm/name': 'vg-data' } });
  tree.mount('/srv', '253:1', 'ext4', '/dev/mapper/vg-data');
  tree.file('proc/swaps', 'Filename\tType\tSize\tUsed\tPriority\n/dev/sdb2 partition\t8388604\t0\t-2\n');
  return tree;
}

/** A USB network adapter with the default route, and one that is up and unused. */
export function routedNic(): HostTree {
  const tree = pc();
  for (const [busid, name] of [
    ['1-7', 'eth1'],
    ['1-8', 'eth2'],
  ] as const) {
    tree.usb(busid, { product: 'LAN', vendor: '0bda', interfaces: [['ffff00', 'r8152']] });
    tree.net(name, { at: tree.at(`${busid}:1.0`) });
  }
  tree.net('lo', { flags: '0x9' });
  tree.file(
    'proc/net/route',
    `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth1\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth1\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
eth2\t0000FEA9\t00000000\t0001\t0\t0\t1000\t0000FFFF\t0\t0\t0
`,
  );
  const zeros = '0'.repeat(32);
  tree.file(
    'proc/net/ipv6_route',
    `fe800000000000000000000000000000 40 ${zeros} 00 ${zeros} 00000100 00000001 00000000 00000001     eth2
${zeros} 00 ${zeros} 00 ${zeros} ffffffff 00000001 00000000 00200200       lo
`,
  );
  return tree;
}

/** Keyboard and mouse behind the hub of a KVM switch, two tiers down. */
export function kvmSwitch(): HostTree {
  const tree = pc();
  tree.usb('1-1', { product: 'KVM', interfaces: [['090000', 'hub']], devnum: 2 });
  tree.usb('1-1.2', { product: 'KVM HID', interfaces: [['090000', 'hub']], devnum: 3 });
  usbKeyboard(tree, '1-1.2.1');
  usbMouse(tree, '1-1.2.2');
  return tree;
}
