/**
 * A plain Linux host, without a hypervisor of its own: udev, Node, and QEMU for VMs. Knows what is in it; how a host is
 * built, kept and restored is the same for every kind.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Cargo } from './cargo.ts';
import { guestImage } from './guest.ts';
import { Host, type HostModel } from './host.ts';
import type { HostImage } from './host-image.ts';
import { hostSnapshot } from './host-snapshot.ts';
import { kernel } from './kernel.ts';

const IMAGE: HostImage = {
  hostname: 'host',
  packages: ['qemu-system-x86'],
  modules: [],
  idleModules: ['uas', 'usbmon'],
  guest: guestImage,
  sources: [fileURLToPath(import.meta.url)],
  fill: async () => {},
};

const CMDLINE = 'console=ttyS0 quiet mitigations=off tsc=reliable no_timer_check panic=-1';

const MODEL: HostModel = {
  title: 'the Linux host',
  cpu: 'qemu64',
  memoryMiB: 1536,
  ports: [],
  terminals: [],
  files: async (source) => ({ vmlinux: (await kernel()).vmlinux, initrd: join(source, 'initrd') }),
  bootArgs: (words) => ['-kernel', 'vmlinux', '-initrd', 'initrd', '-append', [CMDLINE, ...words].join(' ')],
  // Emulated, the first start of a program costs twice the second.
  warmUp: 'node -e 0 && qemu-system-x86_64 --version && qemu-system-x86_64 -M none -device usb-host,help',
};

/** Gives the folder of the Linux host's snapshot, building it first when it is not in the cache. */
export function linuxHostSnapshot(): Promise<string> {
  return hostSnapshot('linux-host', IMAGE, MODEL);
}

/** Gives a fresh Linux host from the snapshot. @throws Fault `timeout`, `exec.failed`, `config.invalid`. */
export async function restoreLinuxHost(cargo: Cargo = {}): Promise<Host> {
  return Host.start(MODEL, { source: await linuxHostSnapshot(), isRestored: true, cargo });
}
