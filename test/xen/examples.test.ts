/**
 * The example configs of xenvm's document on real Xen, with kernel, disk and memory put in: the PV guest with its disk
 * and its network card, and the HVM guest that boots from its CD.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeBootCdrom } from '../../lab/cdrom.ts';
import { XEN_GUEST_CMDLINE, xenGuestImage } from '../../lab/guest.ts';
import { HOST_PATHS } from '../../lab/host-image.ts';
import { XenHost } from '../../lab/xen-host.ts';
import { hvmExample, pvExample } from '../support/xenvm-examples.ts';
import { DIST, Dom0Usher } from './dom0-usher.ts';

/** Firmware reads kernel and initramfs from the CD a sector at a time, and each access is emulated twice. */
const CD_BOOT_MS = 20 * 60_000;
const SECTORS_PER_MIB = 2048;
const DISK_MIB = 8;

describe("the examples of xenvm's document on real Xen", () => {
  let folder: string;
  let usher: Dom0Usher;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'usher-examples-'));
    const iso = join(folder, 'install.iso');
    await makeBootCdrom(iso, await xenGuestImage(), 'usher.cd');
    usher = new Dom0Usher(await XenHost.restore({ dist: DIST, 'install.iso': iso }));
    // A disk of the host's own, as the examples have one, and the bridge that xl takes when none is named.
    await usher.check(
      `for n in 1 2; do truncate -s ${DISK_MIB}M /root/$n.img; losetup /dev/loop$n /root/$n.img; done
      modprobe -a xen-netback bridge; ip link add xenbr0 type bridge; ip link set xenbr0 up`,
    );
    await usher.startDaemon();
  });
  after(async () => {
    await usher?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('the PV example boots, with its disk and its network card', async () => {
    const { guestKernel: kernel, guestInitrd: initrd } = HOST_PATHS;
    const content = pvExample({ kernel, initrd, cmdline: XEN_GUEST_CMDLINE, disk: '/dev/loop1' });
    await usher.ask('vm.create', { name: 'pv', content });
    await usher.ask('vm.start', { vm: 'pv' });
    await usher.guestSays('pv', '^USHER-GUEST ready');
    assert.match(await usher.inGuest('pv', 'cat /proc/cmdline'), /root=\/dev\/sda1 ro\s/);
    const sectors = new RegExp(`^${DISK_MIB * SECTORS_PER_MIB}$`, 'm');
    // A kernel of today calls every disk of Xen xvd-something.
    assert.match(await usher.inGuest('pv', 'cat /sys/block/xvd?/size'), sectors);
    await usher.inGuest('pv', 'printf written > /tmp/w; dd if=/tmp/w of=$(ls /dev/xvd?) conv=sync,fsync; sync');
    assert.equal(await usher.check('head -c 7 /root/1.img'), 'written');
    const address = await usher.inGuest('pv', 'modprobe xen-netfront; sleep 2; cat /sys/class/net/eth0/address');
    assert.match(address, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/m);
    assert.match(await usher.check('ls /sys/class/net/xenbr0/brif'), /^vif\d+\.0$/m);
    await usher.ask('vm.destroy', { vm: 'pv' });
  });

  it('the HVM example boots from its CD', async () => {
    await usher.ask('vm.create', {
      name: 'hvm',
      content: hvmExample({ disk: '/dev/loop2', iso: '/cargo/install.iso' }),
    });
    await usher.ask('vm.start', { vm: 'hvm' });
    await usher.guestSays('hvm', '^USHER-GUEST ready', 0, CD_BOOT_MS);
    assert.match(await usher.inGuest('hvm', 'cat /proc/cmdline'), /usher\.cd/);
    assert.match(await usher.inGuest('hvm', 'cat /proc/cpuinfo'), /^flags.* pae .*apic /m);
    await usher.inGuest('hvm', 'test -d /sys/firmware/acpi/tables');
    await usher.inGuest('hvm', 'modprobe -a ata_piix sr_mod isofs; sleep 5; mount -t iso9660 -o ro /dev/sr0 /tmp');
    await usher.inGuest('hvm', 'test -f /tmp/vmlinuz');
    await usher.ask('vm.destroy', { vm: 'hvm' });
  });
});
