/**
 * The rig of the contract suite for real QEMU and the lab's guest. Guests are not booted each time: the first one's state
 * is kept, and later ones go on from it, which takes a tenth of the time.
 */
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, guestImage } from '../../lab/guest.ts';
import type { Driver } from '../../src/hypervisor/driver.ts';
import { QemuDriver, type QemuDriverOptions } from '../../src/hypervisor/qemu/driver.ts';
import { formatHeader, HEADER_BYTES, readSaveHeader } from '../../src/hypervisor/qemu/save-file.ts';
import { sleep, systemClock } from '../../src/lib/clock.ts';
import { exec } from '../../src/lib/exec.ts';
import { newUuid, type VmUuid } from '../../src/model/ids.ts';
import { SOFTWARE_KINDS } from '../../src/model/usb.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { consoleHand } from './console-hand.ts';
import type { Rig } from './rig.ts';
import { makeSoftwareDevice } from './software-device.ts';

export interface QemuRig extends Rig {
  openDriver(changes?: Partial<QemuDriverOptions>): Promise<Driver>;
  boot(driver: Driver, config: VmConfig): Promise<void>;
  /** Where the domain's sockets are. */
  runtimeOf(uuid: VmUuid): string;
  pidOf(uuid: VmUuid): Promise<number>;
}

/** A machine whose cores are all busy may take minutes for what takes three seconds. */
const BOOT_TIMEOUT_MS = 240_000;
const STICK_BYTES = 1024 * 1024;

export async function makeQemuRig(): Promise<QemuRig> {
  const image = await guestImage();
  const folder = await mkdtemp(join(tmpdir(), 'usher-qemu-'));
  const runtimeDir = join(folder, 'run');
  const stateDir = join(folder, 'logs');
  const saves = join(folder, 'saves');
  await mkdir(saves);
  const fullFolder = await mountFull(join(folder, 'full'));
  const booted = join(folder, 'booted');
  let hasBooted = false;
  let made = 0;
  const guest = (uuid: VmUuid) => {
    const runtime = join(runtimeDir, uuid);
    return consoleHand({
      connect: () => GuestConsole.connect(join(runtime, 'console.sock')),
      bootTimeoutMs: BOOT_TIMEOUT_MS,
      kill: async () => {
        process.kill(await pidIn(runtime), 'SIGKILL');
      },
    });
  };
  return {
    openDriver: async (changes) => new QemuDriver({ runtimeDir, stateDir, ...changes }),
    makeConfig: (changes) => ({
      uuid: newUuid(),
      name: `contract-${++made}`,
      driver: 'qemu',
      kernel: image.kernel,
      initrd: image.initrd,
      cmdline: GUEST_CMDLINE,
      memoryMiB: 192,
      vcpus: 1,
      disks: [],
      startup: { do: 'started' },
      onCrash: 'preserve',
      onHalt: 'preserve',
      onReboot: 'preserve',
      usbControllers: [
        { type: 'auto', version: 3, ports: 8 },
        { type: 'auto', version: 1, ports: 2 },
      ],
      ...changes,
    }),
    deviceKinds: SOFTWARE_KINDS,
    makeDevice: async (kind) => {
      const serial = `S${++made}`;
      const file = kind === 'storage' ? join(folder, `stick-${made}.img`) : undefined;
      if (file !== undefined) await writeFile(file, Buffer.alloc(STICK_BYTES, made));
      return makeSoftwareDevice({ kind, busid: `1-${made}`, serial, file });
    },
    savesLive: 'measurably',
    disks: {
      canSnapshot: true,
      make: async (format) => {
        const path = join(folder, `disk, ${++made}.${format}`); // QEMU's options take a comma for an end.
        await exec(['qemu-img', 'create', '-q', '-f', format, path, '8M'], { timeoutMs: 10_000 });
        return { path, format, target: 'vda', isReadOnly: false, kind: 'disk' };
      },
    },
    guest,
    async boot(driver, config) {
      if (hasBooted) await nameState(booted, config);
      await driver.start(config, { isPaused: false, restoreFrom: hasBooted ? booted : undefined });
      await guest(config.uuid).waitReady();
      if (!hasBooted) await driver.save(config.uuid, booted, { afterwards: 'running' });
      hasBooted = true;
    },
    folder: saves,
    ...(fullFolder === undefined ? {} : { fullFolder }),
    elapse: (ms) => sleep(systemClock, ms),
    patienceMs: BOOT_TIMEOUT_MS,
    runtimeOf: (uuid) => join(runtimeDir, uuid),
    pidOf: (uuid) => pidIn(join(runtimeDir, uuid)),
    close: async () => {
      if (fullFolder !== undefined) await exec(['umount', fullFolder], { timeoutMs: 10_000 });
      await rm(folder, { recursive: true });
    },
  };
}

/** Makes the kept state that of another VM: all guests of the rig are alike but for their names. */
async function nameState(path: string, { uuid, name }: VmConfig): Promise<void> {
  const header = await readSaveHeader(path);
  if (header === undefined) throw new Error('the booted guest was not kept');
  const file = await open(path, 'r+');
  try {
    await file.write(formatHeader({ ...header, uuid, name }), 0, HEADER_BYTES, 0);
  } finally {
    await file.close();
  }
}

/** Mounts a file system with room for nothing, where that is allowed. */
async function mountFull(folder: string): Promise<string | undefined> {
  await mkdir(folder);
  const mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder] as const;
  return exec([...mount], { timeoutMs: 10_000 }).then(
    () => folder,
    () => undefined,
  );
}

async function pidIn(runtime: string): Promise<number> {
  return Number(await readFile(join(runtime, 'pid'), 'utf8'));
}
