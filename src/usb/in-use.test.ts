import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { readHostState, readUses, usesOf } from './in-use.ts';
import type { HostTree } from './testing/host-tree.ts';
import * as hosts from './testing/hosts.ts';

const trees: HostTree[] = [];

function made(tree: HostTree): HostTree {
  trees.push(tree);
  return tree;
}

async function uses(tree: HostTree, busid: string): Promise<string[]> {
  return (await readUses(tree.roots, { busid })).map(({ kind, detail }) => `${kind}: ${detail}`);
}

/** A PC with a stick at 1-1, disk sdb, partition sdb1. */
function withStick(): HostTree {
  const tree = made(hosts.pc());
  hosts.stick(tree, '1-1');
  return tree;
}

suite('what the host does with a device', () => {
  after(() => {
    for (const tree of trees) tree.remove();
  });

  test('a server and its stick: nothing', async () => {
    assert.deepEqual(await uses(made(hosts.server()), '1-6'), []);
  });

  test('a live system: the stick is the boot disk, through overlay, squashfs and loop', async () => {
    assert.deepEqual(await uses(made(hosts.liveStick()), '1-5'), [
      'boot disk: / is on loop0, which is on sdb1',
      'mounted: sdb1 is mounted at /run/live/medium',
      'held: sdb1 is held by loop0',
    ]);
  });

  test('a root whose layers are out of sight leads nowhere, and not round in circles', async () => {
    const tree = withStick();
    tree.unmountAll();
    tree.mount('/', '0:31', 'overlay', 'overlay', 'rw,lowerdir=/gone.squashfs:/other.squashfs,upperdir=/cow/upper');
    tree.mount('/rofs', '7:0', 'squashfs', '/dev/loop0');
    tree.block('loop0', { number: '7:0', attributes: { 'loop/backing_file': '/rofs/itself (deleted)' } });
    assert.deepEqual(await uses(tree, '1-1'), []);
  });

  test('LVM on an encrypted USB disk: mounted, held, swapped to', async () => {
    assert.deepEqual(await uses(made(hosts.lvmDisk()), '1-1'), [
      'mounted: vg-data, which is on sdb1, is mounted at /srv',
      'swap: swap is on sdb2',
      'held: sdb1 is held by luks-backup (dm-0)',
    ]);
  });

  test('what is not mounted any more, or only held, or nothing', async () => {
    const tree = made(hosts.lvmDisk());
    tree.unmountAll();
    tree.mount('/', '8:2', 'ext4', '/dev/sda2');
    tree.file('proc/swaps', 'Filename\n');
    assert.deepEqual(await uses(tree, '1-1'), ['held: sdb1 is held by luks-backup (dm-0)']);
  });

  test('the root on an array, a logical volume or a partition of a USB disk', async () => {
    const tree = withStick();
    tree.block('md0', { number: '9:0', on: ['sdb1', 'sda1'] });
    tree.unmountAll();
    tree.mount('/', '9:0', 'xfs', '/dev/md0');
    tree.mount('/boot/efi', '8:17', 'vfat', '/dev/sdb1');
    tree.mount('/home', '9:0', 'xfs', '/dev/md0');
    assert.deepEqual(await uses(tree, '1-1'), [
      'boot disk: / is on md0, which is on sdb1',
      'boot disk: /boot/efi is on sdb1',
      'held: sdb1 is held by md0',
    ]);
  });

  test('a stick that is mounted in many places, whose names would do harm', async () => {
    const tree = withStick();
    for (const at of ['/media/a\\040b', '/media/\\033[2J', '/c', '/d', '/e'])
      tree.mount(at, '8:17', 'vfat', '/dev/sdb1');
    assert.deepEqual(await uses(tree, '1-1'), [
      'mounted: sdb1 is mounted at /media/a b, /media/\\u{1b}[2J, /c and 2 more places',
    ]);
  });

  test('a disk without partitions; a disk of the host itself is not in question', async () => {
    const tree = made(hosts.pc());
    hosts.stick(tree, '1-1', 'sdb', {});
    tree.mount('/mnt', '8:16', 'ext4', '/dev/sdb');
    assert.deepEqual(await uses(tree, '1-1'), ['mounted: sdb is mounted at /mnt']);
    assert.deepEqual(await uses(tree, '1-2'), []);
  });

  test('btrfs over two disks: a number of its own, and one of them named', async () => {
    const tree = withStick();
    tree.link('fs/btrfs/0c1d/devices/sda1', tree.at('sda1'));
    tree.link('fs/btrfs/0c1d/devices/sdb1', tree.at('sdb1'));
    tree.folder('fs/btrfs/features');
    tree.mount('/data', '0:45', 'btrfs', '/dev/sda1');
    assert.deepEqual(await uses(tree, '1-1'), ['mounted: sdb1 is mounted at /data']);
  });

  test('a ZFS pool, by what udev read and what ZFS has imported', async () => {
    const tree = withStick();
    tree.file('run/udev/data/b8:17', 'E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=tank\n');
    assert.deepEqual(await uses(tree, '1-1'), [], 'not imported');
    tree.file('proc/spl/kstat/zfs/tank/state', 'ONLINE\n');
    assert.deepEqual(await uses(tree, '1-1'), ['held: sdb1 is held by the ZFS pool tank']);
    tree.file('run/udev/data/b8:16', 'E:ID_FS_TYPE=ext4\nE:ID_FS_LABEL=tank\n');
    tree.mount('/', '0:50', 'zfs', 'tank/ROOT/debian');
    assert.deepEqual(await uses(tree, '1-1'), ['boot disk: / is on sdb1', 'held: sdb1 is held by the ZFS pool tank']);
  });

  test('swap files, swap on a mapping by its name', async () => {
    const tree = withStick();
    tree.block('dm-0', { number: '253:0', on: ['sdb1'], attributes: { 'dm/name': 'vg-swap' } });
    tree.file('dev/dm-0', '');
    tree.nodeLink('mapper/vg-swap', 'dm-0');
    tree.mount('/media/x', '8:17', 'ext4', '/dev/sdb1');
    tree.file('proc/swaps', 'Filename\n/media/x/swap file 1 0 -2\n/dev/mapper/vg-swap partition 1 0 -3\n');
    assert.deepEqual((await uses(tree, '1-1')).slice(1, 3), [
      'swap: the swap file /media/x/swap is on sdb1',
      'swap: swap is on vg-swap, which is on sdb1',
    ]);
  });

  test('a loop device over a partition', async () => {
    const tree = withStick();
    tree.block('loop3', { number: '7:3', attributes: { 'loop/backing_file': '/dev/sdb1' } });
    assert.deepEqual(await uses(tree, '1-1'), ['held: sdb1 is held by loop3']);
  });

  test('a mount that only another mount namespace has leaves its trace', async () => {
    const tree = withStick();
    tree.folder('fs/ext4/sdb1');
    assert.deepEqual(await uses(tree, '1-1'), [
      'mounted: sdb1 is mounted in a mount namespace that Usher does not see',
    ]);
    tree.mount('/mnt', '8:17', 'ext4', '/dev/sdb1');
    assert.deepEqual(await uses(tree, '1-1'), ['mounted: sdb1 is mounted at /mnt']);
  });

  test('what process 1 has mounted counts, where we may look', async () => {
    const tree = withStick();
    tree.file('proc/1/mountinfo', '30 1 8:17 / /tmp/x rw shared:1 - vfat /dev/sdb1 rw\n');
    assert.deepEqual(await uses(tree, '1-1'), ['mounted: sdb1 is mounted at /tmp/x']);
  });

  test('a network adapter with the default route; one that has a link and no address', async () => {
    const tree = made(hosts.routedNic());
    assert.deepEqual(await uses(tree, '1-7'), ['network: eth1 carries the default route']);
    assert.deepEqual(await uses(tree, '1-8'), []);
  });

  test('an adapter with an address, by IPv4 and IPv6', async () => {
    const tree = made(hosts.routedNic());
    tree.file('proc/net/route', 'Iface\neth2 000010AC 00000000 0001 0 0 0 0000F0FF 0 0 0\n');
    assert.deepEqual(await uses(tree, '1-8'), ['network: eth2 carries the route to 172.16.0.0/12']);
    assert.deepEqual(await uses(tree, '1-7'), []);
    const zeros = '0'.repeat(32);
    const route = (to: string, length: string) =>
      `${to} ${length} ${zeros} 00 ${zeros} 00000400 1 0 00000001     eth1\n`;
    tree.file('proc/net/ipv6_route', route('fd001234000000000000000000000000', '40'));
    assert.deepEqual(await uses(tree, '1-7'), ['network: eth1 carries the route to fd00:1234::/64']);
    tree.file('proc/net/ipv6_route', route(zeros, '00'));
    assert.deepEqual(await uses(tree, '1-7'), ['network: eth1 carries the default route']);
  });

  test('an adapter in a bridge below a VLAN is in use, one that is down is not', async () => {
    const tree = made(hosts.pc());
    tree.usb('1-7', { product: 'LAN', interfaces: [['ffff00', 'r8152']] });
    tree.net('xenbr0');
    tree.net('vlan5', { under: 'xenbr0' });
    tree.net('eth1', { at: tree.at('1-7:1.0'), under: 'vlan5' });
    assert.deepEqual(await uses(tree, '1-7'), ['network: eth1 is part of vlan5']);
    tree.file('proc/net/route', 'Iface\nxenbr0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n');
    assert.deepEqual(await uses(tree, '1-7'), ['network: eth1 is part of xenbr0, which carries the default route']);
    tree.net('eth1', { at: tree.at('1-7:1.0'), under: 'vlan5', flags: '0x1002' });
    assert.deepEqual(await uses(tree, '1-7'), []);
  });

  test('keyboards and pointers, whole and in one', async () => {
    const desktop = made(hosts.desktop());
    assert.deepEqual(await uses(desktop, '1-3'), ['keyboard: it is a keyboard, USB Keyboard']);
    assert.deepEqual(await uses(desktop, '1-4'), ['pointer: it is a pointer, USB Mouse']);
    assert.deepEqual(await uses(made(hosts.wirelessReceiver()), '1-2'), [
      'keyboard: it is a keyboard, Logitech USB Receiver',
      'pointer: it is a pointer, Logitech USB Receiver Mouse',
    ]);
  });

  test('a Bluetooth adapter through which a keyboard works', async () => {
    const tree = made(hosts.pc());
    hosts.bluetoothAdapter(tree, '1-9');
    const uhid = 'devices/virtual/misc/uhid/0005:1D50:615E.0019';
    tree.input({ at: uhid, name: 'Toucan', phys: 'a0:ad:9f:72:f6:6b', bus: '0005', looks: 'keyboard' });
    assert.deepEqual(await uses(tree, '1-9'), ['keyboard: a keyboard works through it, Toucan']);
  });

  test('a hub is not in use because of what hangs on it', async () => {
    const tree = made(hosts.kvmSwitch());
    assert.deepEqual(await uses(tree, '1-1'), []);
    assert.deepEqual(await uses(tree, '1-1.2'), []);
    assert.deepEqual(await uses(tree, '1-1.2.1'), ['keyboard: it is a keyboard, USB Keyboard']);
  });

  test('a device that a guest or nobody has is in no use, whatever it is', async () => {
    const tree = made(hosts.pc());
    tree.usb('1-1', {
      interfaces: [
        ['030101', 'usbfs'],
        ['080650', 'usbfs'],
      ],
    });
    tree.usb('1-2', { interfaces: [['030101'], ['080650']] });
    assert.deepEqual(await uses(tree, '1-1'), []);
    assert.deepEqual(await uses(tree, '1-2'), []);
  });

  test('one look tells of all devices', async () => {
    const state = await readHostState(made(hosts.desktop()).roots);
    assert.deepEqual(
      ['1-3', '1-4', '1-5'].map((busid) => usesOf(state, busid).length),
      [1, 1, 0],
    );
  });

  test('a host that cannot be read is a fault, never an empty answer; without swap, IPv6 and disks it is none', async () => {
    const tree = made(hosts.desktop());
    tree.delete('proc/swaps');
    tree.delete('proc/net');
    tree.delete('sys/class/block');
    tree.delete('sys/class/input');
    assert.deepEqual(await uses(tree, '1-4'), []);
    tree.delete('proc/self/mountinfo');
    await assert.rejects(uses(tree, '1-4'), (error) => isFault(error, 'file.unreadable'));
  });
});
