/**
 * The rig of the driver contract for real Xen, run inside dom0 of the lab: one kind of guest. Devices were plugged into
 * the host before. Guests that have to have booted go on from a save that the lab keeps, for a boot takes minutes here.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Duplex } from 'node:stream';
import { GuestConsole } from '../../../lab/console.ts';
import { XEN_GUEST_CMDLINE } from '../../../lab/guest.ts';
import { HOST_PATHS } from '../../../lab/host-image.ts';
import { makeCfg } from '../../../src/hypervisor/xen/cfg.ts';
import { XenDriver } from '../../../src/hypervisor/xen/driver.ts';
import { writeControllerNodes } from '../../../src/hypervisor/xen/emulated-controllers.ts';
import { domainPaths } from '../../../src/hypervisor/xen/paths.ts';
import { openSaveFile } from '../../../src/hypervisor/xen/save-file.ts';
import { sleep, systemClock } from '../../../src/lib/clock.ts';
import { pollUntil } from '../../../src/lib/deadline.ts';
import { exec } from '../../../src/lib/exec.ts';
import { newUuid, type VmUuid } from '../../../src/model/ids.ts';
import { SOFTWARE_KINDS, type SoftwareKind, type UsbDevice } from '../../../src/model/usb.ts';
import type { UsbControllerConfig, VirtMode, VmConfig } from '../../../src/model/vm.ts';
import { SysfsSource } from '../../../src/usb/sysfs.ts';
import { XenstoreClient } from '../../../src/wire/xenstore/client.ts';
import { consoleHand } from '../../contract/console-hand.ts';
import type { GuestHand, Rig } from '../../contract/rig.ts';
import { makeSoftwareDevice } from '../../contract/software-device.ts';

export interface XenRigOptions {
  readonly virtMode: VirtMode;
  /** Software devices, or those that are plugged into the host. */
  readonly devices: 'software' | 'host';
}

const XL_TIMEOUT_MS = 60_000;
const BOOT_TIMEOUT_MS = 240_000;
/** Under emulated processors an HVM guest that xl restores ends by a triple fault now and then (1 of some 30 times). */
const MAX_RESTORES = 3;
const SHORT_TIMEOUT_MS = 10_000;
const STICK_BYTES = 1024 * 1024;
/** What the kinds are called in the serial numbers of the devices that the lab plugs. */
const HOST_KINDS: readonly SoftwareKind[] = ['tablet', 'storage', 'keyboard', 'mouse', 'serial'];

/** Makes the rig. The first guest boots; its state is kept, and later ones go on from that. */
export async function makeXenRig({ virtMode, devices }: XenRigOptions): Promise<Rig> {
  // Not in memory, of which dom0 has too little for the saves.
  const folder = await mkdtemp('/root/contract-');
  const [runtimeDir, stateDir, saves] = [join(folder, 'run'), join(folder, 'state'), join(folder, 'saves')];
  await mkdir(saves);
  const fullFolder = await mountFull(join(folder, 'full'));
  const store = await XenstoreClient.connect();
  const source = new SysfsSource();
  /** The first VM of a kind that was booted, by its controllers; saved it is the start of all others. */
  const firsts = new Map<string, VmConfig>();
  let made = 0;
  const guest = (uuid: VmUuid) =>
    consoleHand({
      connect: () => connectConsole(uuid, virtMode, runtimeDir),
      bootTimeoutMs: BOOT_TIMEOUT_MS,
      kill: async () => {
        await exec(['xl', 'destroy', String(await domidOf(uuid))], { timeoutMs: XL_TIMEOUT_MS });
      },
    });
  return {
    openDriver: async () => new XenDriver({ runtimeDir, stateDir }),
    makeConfig: (changes) => ({
      uuid: newUuid(),
      name: `contract-${++made}`,
      driver: 'xen',
      virtMode,
      kernel: virtMode === 'hvm' ? HOST_PATHS.guestPackedKernel : HOST_PATHS.guestKernel,
      initrd: virtMode === 'hvm' ? HOST_PATHS.guestPackedInitrd : HOST_PATHS.guestInitrd,
      cmdline: XEN_GUEST_CMDLINE.replace('hvc0', virtMode === 'hvm' ? 'ttyS0' : 'hvc0'),
      memoryMiB: 128,
      vcpus: 1,
      disks: [],
      startup: { do: 'started' },
      onCrash: 'preserve',
      onHalt: 'preserve',
      onReboot: 'preserve',
      usbControllers: CONTROLLERS[virtMode],
      ...changes,
    }),
    // Without a controller PV and PVH guests have no device model, which costs more than all the rest.
    ...(virtMode === 'hvm' ? {} : { withoutUsb: { usbControllers: [] } }),
    deviceKinds: devices === 'software' ? SOFTWARE_KINDS : HOST_KINDS,
    makeDevice: async (kind) => {
      made++;
      if (devices === 'host') return await pluggedDevice(source, kind, made);
      const serial = `S${made}`;
      const file = kind === 'storage' ? join(folder, `stick-${made}.img`) : undefined;
      if (file !== undefined) await writeFile(file, Buffer.alloc(STICK_BYTES, made));
      return makeSoftwareDevice({ kind, busid: `1-${made}`, serial, file });
    },
    savesLive: 'never',
    setsClock: true,
    disks: {
      canSnapshot: false,
      make: async () => {
        const path = join(folder, `disk-${++made}.raw`);
        await writeFile(path, Buffer.alloc(STICK_BYTES));
        return { path, format: 'raw', target: 'xvda', isReadOnly: false, kind: 'disk' };
      },
    },
    guest,
    resetMakesNewDomain: true,
    async boot(driver, config) {
      const like = `controllers-${config.usbControllers.length}`;
      const [first, booted] = [firsts.get(like), join(folder, like)];
      if (first === undefined) {
        await driver.start(config, { isPaused: false });
        await guest(config.uuid).waitReady();
        await exec(['xl', 'save', '-c', config.name, booted], { timeoutMs: XL_TIMEOUT_MS });
        firsts.set(like, config);
        return;
      }
      // Not by the driver: it would refuse the save of another VM.
      const paths = domainPaths(runtimeDir, stateDir, config.uuid);
      const { file, saved, emulated } = await openSaveFile(booted, first, undefined);
      await file.close();
      await mkdir(paths.folder, { recursive: true, mode: 0o700 });
      await mkdir(dirname(paths.consoleLog), { recursive: true, mode: 0o700 });
      const { text } = makeCfg({ ...config, usbControllers: saved.controllers }, paths, emulated);
      await writeFile(paths.cfgFile, text);
      for (let tries = 1; ; tries++) {
        await exec(['xl', 'restore', '-e', paths.cfgFile, booted], { timeoutMs: XL_TIMEOUT_MS });
        const domid = await domidOf(config.uuid);
        await writeControllerNodes(store, domid, emulated);
        if (await isReady(guest(config.uuid), domid)) return;
        if (tries === MAX_RESTORES) throw new Error(`a guest of ${virtMode} died after each of ${tries} restores`);
        await exec(['xl', 'destroy', String(domid)], { timeoutMs: XL_TIMEOUT_MS });
      }
    },
    folder: saves,
    ...(fullFolder === undefined ? {} : { fullFolder }),
    elapse: (ms) => sleep(systemClock, ms),
    patienceMs: BOOT_TIMEOUT_MS,
    close: async () => {
      store.close();
      if (fullFolder !== undefined) await exec(['umount', fullFolder], { timeoutMs: SHORT_TIMEOUT_MS });
      await rm(folder, { recursive: true });
    },
  };
}

/** Tells whether the guest answers, or has died meanwhile. */
async function isReady(guest: GuestHand, domid: number): Promise<boolean> {
  const over = new AbortController();
  const options = { what: 'A dead guest', timeoutMs: 2 * BOOT_TIMEOUT_MS, everyMs: 1_000, signal: over.signal };
  const died = pollUntil(options, async () => {
    const { stdout } = await exec(['xl', 'list', String(domid)], { timeoutMs: XL_TIMEOUT_MS });
    return /\s[r-][b-][p-]s\S+\s+\S+$/.test(stdout.trimEnd()) ? false : undefined;
  });
  died.catch(() => undefined);
  const ready = guest.waitReady().then(() => true);
  ready.catch(() => undefined);
  return await Promise.race([ready, died]).finally(() => over.abort());
}

const PVUSB: readonly UsbControllerConfig[] = [
  { type: 'qusb', version: 2, ports: 8 },
  { type: 'qusb', version: 1, ports: 2 },
];
const CONTROLLERS: Readonly<Record<VirtMode, readonly UsbControllerConfig[]>> = {
  pv: PVUSB,
  pvh: PVUSB,
  hvm: [{ type: 'devicemodel', version: 3, ports: 8 }],
};

/**
 * Gives a device of the kind that the host has, another one at each call as long as there are several: QEMU cannot be
 * given one device twice at a time, and pulling devices is not what the contract is about.
 */
async function pluggedDevice(source: SysfsSource, kind: SoftwareKind, turn: number): Promise<UsbDevice> {
  const what = `A ${kind} that is plugged into the host`;
  return pollUntil({ what, timeoutMs: SHORT_TIMEOUT_MS, everyMs: 100 }, async () => {
    const devices = (await source.list()).filter(({ untrustedSerial }) => untrustedSerial?.startsWith(kind));
    return devices[turn % devices.length];
  });
}

/** Finds the domain without the driver. @throws Error when there is none */
export async function domidOf(uuid: VmUuid): Promise<number> {
  const { stdout } = await exec(['xl', 'list', '-v'], { timeoutMs: XL_TIMEOUT_MS });
  const line = stdout.split('\n').find((text) => text.includes(uuid));
  if (line === undefined) throw new Error(`there is no domain of ${uuid}`);
  return Number(/^\S+\s+(\d+)/.exec(line)?.[1]);
}

/** Opens the guest's console: HVM's serial port by QEMU's socket, the others' paravirtual one by its pseudo-terminal. */
async function connectConsole(uuid: VmUuid, virtMode: VirtMode, runtimeDir: string): Promise<GuestConsole> {
  return virtMode === 'hvm' ? GuestConsole.connect(join(runtimeDir, uuid, 'console.sock')) : connectTerminal(uuid);
}

/** Opens the pseudo-terminal that xenconsoled has for a PV or PVH guest: it is there whether Usher is or not. */
export async function connectTerminal(uuid: VmUuid): Promise<GuestConsole> {
  const node = `/local/domain/${await domidOf(uuid)}/console/tty`;
  const { stdout } = await exec(['xenstore-read', node], { timeoutMs: SHORT_TIMEOUT_MS });
  const socat = spawn('socat', ['-', `${stdout.trim()},raw,echo=0`], { stdio: ['pipe', 'pipe', 'inherit'] });
  const stream = Duplex.from({ readable: socat.stdout, writable: socat.stdin });
  stream.on('close', () => socat.kill());
  return GuestConsole.over(stream, node);
}

/** Mounts a file system with room for nothing. */
async function mountFull(folder: string): Promise<string | undefined> {
  await mkdir(folder);
  const mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder] as const;
  return exec([...mount], { timeoutMs: SHORT_TIMEOUT_MS }).then(
    () => folder,
    () => undefined,
  );
}
