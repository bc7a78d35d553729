/**
 * What a Xen host is made of: Xen, Debian as dom0, xl, xenstored, QEMU with the PVUSB backend; and how it boots. Its
 * scripts are in dom0/.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { xenGuestImage } from './guest.ts';
import type { HostModel } from './host.ts';
import type { HostImage } from './host-image.ts';
import { kernel } from './kernel.ts';
import { GUEST_KINDS, guestCfg, XEN_PATHS } from './xen-guests.ts';

/** Debian's package of Xen, of version 4.17. */
const XEN = 'xen-4.17-amd64';

/** The disk of dom0, and beside it the hypervisor, `xen`. */
export const XEN_IMAGE: HostImage = {
  hostname: 'dom0',
  packages: [
    ...['xen-hypervisor-4.17-amd64', 'xen-utils-4.17', 'xen-utils-common', 'xenstore-utils', 'qemu-system-xen'],
    ...['qemu-system-data', 'seabios', 'ipxe-qemu', 'iproute2', 'procps', 'socat', 'usbutils', 'e2fsprogs'],
    ...['ncurses-base', 'less', 'strace'], // For people.
  ],
  modules: ['xen-evtchn', 'xen-gntdev', 'xen-gntalloc', 'xen-privcmd', 'xen-blkback', 'loop'],
  idleModules: [
    ...['xenfs', 'uas', 'usbmon', 'vfat', 'nls_cp437', 'nls_ascii', 'nls_utf8'],
    ...['xen-netback', 'bridge'], // For guests with a network card.
  ],
  guest: xenGuestImage,
  sources: ['xen-image.ts', 'xen-guests.ts'].map((name) => fileURLToPath(new URL(name, import.meta.url))),
  scripts: fileURLToPath(new URL('dom0/', import.meta.url)),
  fill: async (root, folder) => {
    const packed = join(root, 'boot', `${XEN}.gz`);
    await writeFile(join(folder, 'xen'), await promisify(gunzip)(await readFile(packed)));
    await rm(join(root, 'boot'), { recursive: true });
    for (const kind of GUEST_KINDS) await writeFile(join(root, XEN_PATHS.cfg(kind)), guestCfg(kind));
    await mkdir(join(root, 'lab/saves'));
  },
};

/** Without `hap=0` HVM guests die of triple faults now and then: QEMU 7.2 loses their state with nested pages. */
const XEN_CMDLINE = 'dom0_mem=1024M,max:1024M console=com1 com1=115200,8n1 spec-ctrl=no xpti=no hap=0 noreboot';
const CMDLINE = 'console=hvc0 quiet mitigations=off';

/** How it boots, and what it is connected by. */
export const XEN_MODEL: HostModel = {
  title: 'the Xen host',
  cpu: 'qemu64,+svm,+npt', // PVH and HVM guests need the two; `max` crashes dom0.
  memoryMiB: 2048,
  ports: ['hands', 'daemon'],
  terminals: ['shell'],
  files: async (source) => ({
    xen: join(source, 'xen'),
    vmlinux: (await kernel()).vmlinux,
    initrd: join(source, 'initrd'),
  }),
  // Multiboot: the first module is dom0's kernel with its command line, the second its initramfs.
  bootArgs: (words) => [
    ...['-kernel', 'xen', '-append', XEN_CMDLINE],
    ...['-initrd', `vmlinux ${[CMDLINE, ...words].join(' ')},initrd`],
  ],
  warmUp: 'xl list && xl info > /dev/null && xenstore-ls > /dev/null && node -e 0 && lsusb > /dev/null',
};
