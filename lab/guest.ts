/**
 * The small guest of tests and demo: Debian's kernel with a busybox initramfs that boots in seconds under emulation and
 * tells on its console what happens to its USB devices. Builds it; does not run it. The guest's side is in guest/.
 */
import { chmod, cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { exec } from '../src/lib/exec.ts';
import { cached } from './cache.ts';
import { type Kernel, kernel } from './kernel.ts';
import { copyModules } from './modules.ts';
import { xenHcd } from './xen-hcd.ts';

/*
 * What the guest says and obeys. Its lines begin with `USHER-GUEST `, fields are divided by one space, and strings of
 * devices and files are percent-encoded outside [A-Za-z0-9._-] (`decodeURIComponent` undoes that when they are UTF-8).
 * `at` (when the kernel reported it) and `uptime` are seconds since boot.
 *
 *     ready boot=<boot id> uptime=2.31 kernel=6.1.0-56-amd64
 *     usb+ 1-1 46f4:0001 serial=S1 product=QEMU%20USB%20HARDDRIVE devnum=2 speed=480 at=12.345678
 *     usb- 1-1 at=13.456789
 *     file sda STICK.BIN sha256=<hex> bytes=1048576     each file at the stick's root, then
 *     stick sda fs=ext4 files=1 port=2-1
 *     disk sda sha256=<hex> bytes=8388608 port=2-1      a stick without a file system
 *
 * Commands, a line each: `ping TEXT` -> `pong TEXT`; `usb` -> `usb= 1-1 …` each, then `usb-end`; `sum` -> as on arrival,
 * then `sum-end`; `ticks` -> `ticks <tenths of a second that the guest ran>`; `boot` -> `boot <boot id> uptime=…`;
 * `sh COMMAND` -> its output, then `exit <status>`; `poweroff` and `reboot` -> the same word; `panic` -> a kernel panic.
 */

export interface GuestImage {
  /** For QEMU's `-kernel`: the raw ELF kernel. */
  readonly kernel: string;
  /** The same, packed: for firmware, and for Xen's HVM guests. */
  readonly packedKernel: string;
  /** For QEMU's `-initrd`. */
  readonly initrd: string;
  /** The same, compressed with zstd. */
  readonly packedInitrd: string;
  readonly kernelVersion: string;
}

/** The kernel command line that boots fastest under emulation with one processor; the console is the first serial port. */
export const GUEST_CMDLINE =
  'console=ttyS0 quiet mitigations=off tsc=reliable no_timer_check cryptomgr.notests=1 rodata=off init_on_alloc=0 ipv6.disable=1 panic=-1';

/**
 * The same for a guest of Xen of whatever kind: the console is the paravirtual one. A panic is a crash for HVM and PVH,
 * too, by `xen_legacy_crash`. The last four are for HVM: without them it looks through all of an empty PCI bus twice and
 * judges its clocks, which takes half a minute when every access is emulated.
 */
export const XEN_GUEST_CMDLINE = `console=hvc0 quiet mitigations=off cryptomgr.notests=1 rodata=off init_on_alloc=0 ipv6.disable=1 panic=-1 \
xen_legacy_crash pci=noearly tsc=reliable no_timer_check hpet=disable`;

const BUSYBOX = '/bin/busybox';
const SOURCES = fileURLToPath(new URL('guest/', import.meta.url));
const OWN_SOURCES = ['guest.ts', 'modules.ts'].map((name) => fileURLToPath(new URL(name, import.meta.url)));
const TIMEOUT_MS = 60_000;
const ZSTD_LEVEL = 19;

/** Loaded before `ready`: what makes a plugged device appear. */
const USB_MODULES = [
  ...['xhci-pci', 'ehci-pci', 'uhci-hcd', 'usb-storage', 'sd_mod', 'usbhid', 'hid-generic', 'evdev', 'ftdi_sio'],
];
/** And what a machine of QEMU itself needs. */
const QEMU_MODULES = ['virtio_pci', 'virtio_blk', 'pvpanic-mmio', 'pvpanic-pci', 'button'];
/** There for who asks for them (`sh modprobe NAME`): a test's guest has disks and network cards of every kind. */
const SPARE_MODULES = ['virtio_net', 'ahci', 'sr_mod', 'virtio_scsi', 'isofs'];
/** And what a domain of Xen needs besides xen-hcd, which is built. */
const XEN_MODULES = ['xen-blkfront'];
/** There for who asks for them, as above. */
const XEN_SPARE_MODULES = ['xen-netfront', 'ata_piix', 'sr_mod', 'isofs'];
/** Loaded after it: file systems of sticks, with the character sets that vfat asks for. */
const LATER_MODULES = ['ext4', 'crc32c_generic', 'vfat', 'nls_cp437', 'nls_ascii', 'nls_utf8'];

/** Gives the image of the guest for QEMU, building it (and fetching the kernel) first when it is not in the cache. */
export async function guestImage(): Promise<GuestImage> {
  return image('guest', { modules: [...USB_MODULES, ...QEMU_MODULES], spareModules: SPARE_MODULES, builtModules: [] });
}

/** Gives the image of the guest for Xen, PV, PVH and HVM alike, building it first when it is not in the cache. */
export async function xenGuestImage(): Promise<GuestImage> {
  const modules = [...USB_MODULES, ...XEN_MODULES];
  return image('xen-guest', { modules, spareModules: XEN_SPARE_MODULES, builtModules: [await xenHcd()] });
}

interface GuestParts {
  readonly modules: readonly string[];
  readonly spareModules?: readonly string[];
  /** Files of modules that are not the kernel's own. */
  readonly builtModules: readonly string[];
}

async function image(name: string, parts: GuestParts): Promise<GuestImage> {
  const linux = await kernel();
  const sources = (await readdir(SOURCES)).sort().map((file) => join(SOURCES, file));
  const recipe = {
    files: [...OWN_SOURCES, ...sources, BUSYBOX, ...parts.builtModules],
    parameters: { kernel: linux.version },
  };
  const folder = await cached(name, recipe, (target) => build(target, linux, parts));
  return {
    kernel: linux.vmlinux,
    packedKernel: linux.vmlinuz,
    initrd: join(folder, 'initrd'),
    packedInitrd: join(folder, 'initrd.zst'),
    kernelVersion: linux.version,
  };
}

async function build(
  folder: string,
  linux: Kernel,
  { modules, spareModules = [], builtModules }: GuestParts,
): Promise<void> {
  const root = join(folder, 'root');
  for (const name of ['bin', 'sbin', 'dev', 'proc', 'sys', 'run', 'tmp', 'etc/modprobe.d'])
    await mkdir(join(root, name), { recursive: true });
  await cp(SOURCES, join(root, 'lib/usher'), { recursive: true });
  for (const name of await readdir(SOURCES)) await chmod(join(root, 'lib/usher', name), 0o755);
  await symlink('lib/usher/init', join(root, 'init'));
  await cp(BUSYBOX, join(root, 'bin/busybox'));
  const { stdout } = await exec([BUSYBOX, '--list'], { timeoutMs: TIMEOUT_MS });
  const applets = stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
  const own = new Set(['poweroff', 'reboot', 'init', 'linuxrc']);
  for (const name of applets) if (!own.has(name)) await symlink('busybox', join(root, 'bin', name));
  await symlink('../bin/busybox', join(root, 'sbin/modprobe')); // The kernel calls it by this path.
  for (const name of ['poweroff', 'reboot']) await symlink('../lib/usher/end.sh', join(root, 'sbin', name));
  // Without this a stick appears a second later, for the sake of hardware that settles slowly.
  await writeFile(join(root, 'etc/modprobe.d/usher.conf'), 'options usb-storage delay_use=0\n');
  const builtNames = builtModules.map((file) => basename(file, '.ko'));
  await writeFile(join(root, 'lib/usher/modules'), `${[...modules, ...builtNames].join(' ')}\n`);
  await writeFile(join(root, 'lib/usher/later-modules'), `${LATER_MODULES.join(' ')}\n`);
  await copyModules(linux, [...modules, ...LATER_MODULES, ...spareModules], root, builtModules);
  const initrd = join(folder, 'initrd');
  await packInitramfs(root, initrd);
  const params = { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL };
  await writeFile(`${initrd}.zst`, await promisify(zstdCompress)(await readFile(initrd), { params }));
  await rm(root, { recursive: true });
}

/** Packs a root folder as an initramfs; not compressed, for unpacking would cost more boot time than reading. */
export async function packInitramfs(root: string, output: string): Promise<void> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => relative(root, join(entry.parentPath, entry.name))).sort();
  await exec(
    ['cpio', '--create', '--format=newc', '--owner=+0:+0', '--null', '--quiet', '--reproducible', '-O', output],
    {
      timeoutMs: TIMEOUT_MS,
      cwd: root,
      input: paths.map((path) => `${path}\0`).join(''),
    },
  );
}
