/** Makes a CD that a machine's firmware boots the small guest from, with isolinux (El Torito, no emulation). */
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec } from '../src/lib/exec.ts';
import { GUEST_CMDLINE, type GuestImage } from './guest.ts';

const ISOLINUX = '/usr/lib/ISOLINUX/isolinux.bin';
const LOADER = '/usr/lib/syslinux/modules/bios/ldlinux.c32';
const TIMEOUT_MS = 60_000;

/** Writes the image to `path`; `words` are added to the kernel's command line. @throws Fault `exec.failed` */
export async function makeBootCdrom(path: string, guest: GuestImage, words = ''): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'usher-cdrom-'));
  try {
    await mkdir(join(folder, 'isolinux'));
    await copyFile(ISOLINUX, join(folder, 'isolinux/isolinux.bin'));
    await copyFile(LOADER, join(folder, 'isolinux/ldlinux.c32'));
    await copyFile(guest.packedKernel, join(folder, 'vmlinuz'));
    await copyFile(guest.packedInitrd, join(folder, 'initrd'));
    const config = [
      'default guest',
      'prompt 0',
      'label guest',
      '  kernel /vmlinuz',
      `  append initrd=/initrd ${GUEST_CMDLINE} ${words}`,
    ];
    await writeFile(join(folder, 'isolinux/isolinux.cfg'), `${config.join('\n')}\n`);
    await exec(
      [
        ...(['xorriso', '-as', 'mkisofs', '-quiet', '-V', 'USHER', '-o', path] as const),
        ...['-b', 'isolinux/isolinux.bin', '-c', 'isolinux/boot.cat'],
        ...['-no-emul-boot', '-boot-load-size', '4', '-boot-info-table', folder],
      ],
      { timeoutMs: TIMEOUT_MS },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
