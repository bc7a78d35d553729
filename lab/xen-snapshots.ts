/**
 * What is kept of the Xen host: as it is after its boot, and with guests that have booted, running and saved. HVM guests
 * need a minute or more for that, so no test should have to wait for it.
 */
import { readdir, rename, rm, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exec } from '../src/lib/exec.ts';
import { cached } from './cache.ts';
import { Host } from './host.ts';
import { hostSnapshot } from './host-snapshot.ts';
import { shellWord } from './shell-word.ts';
import { XenGuest } from './xen-guest.ts';
import { type GuestCfgOptions, type GuestKind, guestCfg, XEN_PATHS } from './xen-guests.ts';
import { XEN_IMAGE, XEN_MODEL } from './xen-image.ts';

const OWN_SOURCES = ['xen-snapshots.ts', 'xen-guest.ts'].map((name) => fileURLToPath(new URL(name, import.meta.url)));
/** A minute on a machine that has nothing else to do. */
const BOOT_TIMEOUT_MS = 10 * 60_000;
const XL_TIMEOUT_MS = 2 * 60_000;
/** What the guest loads after it is ready; it is to be kept with all of it. */
const AWAIT_MODULES = 'until grep -q ^nls_utf8 /proc/modules; do sleep 0.1; done';

type NamedGuest = GuestCfgOptions & { readonly name: string };

/** Gives the folder of the snapshot of the host alone, building it first when it is not in the cache. */
export function xenHostSnapshot(): Promise<string> {
  return hostSnapshot('xen-host', XEN_IMAGE, XEN_MODEL);
}

/** Gives the folder of the snapshot with guests, building it first when it is not in the cache. */
export async function xenGuestsSnapshot(): Promise<string> {
  const base = await xenHostSnapshot();
  const recipe = { files: OWN_SOURCES, parameters: { base: basename(base) } };
  return cached('xen-guests', recipe, async (folder) => {
    // The snapshots stay side by side, wherever the cache is.
    for (const name of await readdir(base))
      if (name !== 'disk') await symlink(join('..', basename(base), name), join(folder, name));
    await makeDisk(folder, basename(base));
    const host = await Host.start(XEN_MODEL, { source: folder, isRestored: true, writesSource: true });
    try {
      await Promise.all([keepSave(host, 'hvm'), keepSave(host, 'pv').then(() => keepSave(host, 'pvh'))]);
      // The paravirtual console of an HVM guest is silent after a restore: these two have booted where they are.
      await Promise.all((['pv', 'hvm'] as const).map((kind) => create(host, kind, { name: kind })));
      await host.check(TIDY, { timeoutMs: XL_TIMEOUT_MS });
      await rm(join(folder, 'state'));
      await host.save(join(folder, 'state'));
    } finally {
      await host.stop();
    }
    await packDisk(folder, basename(base));
  });
}

/** What the host no longer needs would be kept, too: memory that was used for files does not compress. */
const TIDY = `
rm -f /var/log/xen/console/guest-save-* /var/log/xen/*save-* /root/*
sync
echo 3 > /proc/sys/vm/drop_caches
dd if=/dev/zero of=/dev/shm/zero bs=1M count=$(($(sed -n 's/^MemFree: *//p' /proc/meminfo | cut -d ' ' -f 1) / 1024 - 100)) 2> /dev/null
rm /dev/shm/zero`;

/** Boots a guest and has it saved. An HVM guest has no USB controller then, for xl cannot restore one that has. */
async function keepSave(host: Host, kind: GuestKind): Promise<void> {
  const name = `save-${kind}`;
  await create(host, kind, { name, hasUsb: kind !== 'hvm' });
  await host.check(`xl save ${name} ${XEN_PATHS.save(kind)}`, { timeoutMs: XL_TIMEOUT_MS });
}

async function create(host: Host, kind: GuestKind, options: NamedGuest): Promise<void> {
  await host.check(
    withCfg(kind, options, (cfg) => `xl create ${cfg}`),
    { timeoutMs: XL_TIMEOUT_MS },
  );
  const guest = new XenGuest(host, options.name);
  await guest.waitFor('^USHER-GUEST ready', { timeoutMs: BOOT_TIMEOUT_MS });
  await guest.shell(AWAIT_MODULES, BOOT_TIMEOUT_MS);
}

function withCfg(kind: GuestKind, options: NamedGuest, command: (cfg: string) => string): string {
  const cfg = `/root/${options.name}.cfg`;
  return `printf %s ${shellWord(guestCfg(kind, options))} > ${cfg} && ${command(cfg)}`;
}

async function makeDisk(folder: string, base: string): Promise<void> {
  const backing = ['-b', join('..', base, 'disk'), '-F', 'raw'];
  await exec(['qemu-img', 'create', '-q', '-f', 'qcow2', ...backing, 'disk'], {
    cwd: folder,
    timeoutMs: XL_TIMEOUT_MS,
  });
}

/** Writes the disk once more, compressed and without what is zero: saves are mostly empty memory. */
async function packDisk(folder: string, base: string): Promise<void> {
  const backing = ['-B', join('..', base, 'disk'), '-F', 'raw'];
  const compressed = ['-c', '-o', 'compression_type=zstd'];
  await exec(['qemu-img', 'convert', '-O', 'qcow2', ...backing, ...compressed, 'disk', 'packed'], {
    cwd: folder,
    timeoutMs: XL_TIMEOUT_MS,
  });
  await rename(join(folder, 'packed'), join(folder, 'disk'));
}
