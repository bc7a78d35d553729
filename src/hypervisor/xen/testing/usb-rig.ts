/**
 * A Xen host for tests of its USB: xenstore in memory, folders that look like sysfs, /dev and /proc, and a device model for
 * each domain. For tests only.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Clock, systemClock } from '../../../lib/clock.ts';
import { pollUntil } from '../../../lib/deadline.ts';
import { silentLog } from '../../../lib/log.ts';
import { readDescriptors } from '../../../model/descriptors.ts';
import type { VmUuid } from '../../../model/ids.ts';
import { type FakeDevice, SysfsTree } from '../../../model/testing/sysfs-tree.ts';
import { formatDeviceId, hostGeneration, type UsbDevice, type UsbSlot } from '../../../model/usb.ts';
import { type MemoryRig, memoryRig } from '../../../wire/xenstore/testing/memory-rig.ts';
import type { DriverHint } from '../../driver.ts';
import { type ModelNote, portPath } from '../nodes.ts';
import { XenUsb } from '../usb.ts';
import type { UsbDomain } from '../usb-ports.ts';
import type { UsbUpkeepParts } from '../usb-upkeep.ts';
import type { Xl } from '../xl.ts';
import { FakeModel } from './fake-model.ts';

export const BOOT = 'boot';
/** Two ports of the controller that each domain has. */
export const SLOT: UsbSlot = { controller: 0, port: 1 };
export const NEXT: UsbSlot = { controller: 0, port: 2 };

export interface RigDomain extends UsbDomain {
  readonly kind: 'pv' | 'pvh' | 'hvm';
}

/** Ten seconds of it are one: what waits in vain is not waited for as long. */
const hastyClock: Clock = {
  now: () => systemClock.now(),
  monotonic: () => systemClock.monotonic() * 10,
  after: (ms, fire) => systemClock.after(ms / 10, fire),
};

/** Gives a uuid by a number. */
export function uuidOf(number: number): VmUuid {
  return `00000000-0000-4000-8000-${String(number).padStart(12, '0')}` as VmUuid;
}

export class UsbRig {
  readonly store: MemoryRig;
  readonly root = mkdtempSync(join(tmpdir(), 'usher-xen-'));
  readonly sysfs = new SysfsTree();
  readonly hints: DriverHint[] = [];
  readonly models: FakeModel[] = [];
  /** What `xl` was told. */
  readonly xlWords: string[][] = [];
  readonly alive = new Set<number>();
  #nextPid = 1_000;

  static async make(t: TestContext): Promise<UsbRig> {
    const rig = new UsbRig(await memoryRig(t));
    t.after(async () => {
      for (const model of rig.models) await model.stop();
      rig.sysfs.remove();
      rmSync(rig.root, { recursive: true });
    });
    return rig;
  }

  private constructor(store: MemoryRig) {
    this.store = store;
    for (const folder of ['proc', 'usbfs/001', 'usbfs/002']) mkdirSync(join(this.root, folder), { recursive: true });
    writeFileSync(join(this.sysfs.root, 'bus/usb/drivers_probe'), '');
  }

  get usbfsRoot(): string {
    return join(this.root, 'usbfs');
  }

  get procRoot(): string {
    return join(this.root, 'proc');
  }

  /** Opens what is tested; it is closed after the test. */
  async open(t: TestContext, parts: Partial<UsbUpkeepParts> = {}): Promise<XenUsb> {
    const usb = await XenUsb.open({
      xenstore: this.store.client,
      xl: { run: (words: string[]) => this.#xl(words) } as unknown as Xl,
      clock: hastyClock,
      log: silentLog,
      sysfsRoot: this.sysfs.root,
      usbfsRoot: this.usbfsRoot,
      procRoot: this.procRoot,
      bootId: BOOT,
      ownQmp: (uuid) => this.ownQmp(uuid),
      onHint: (hint) => this.hints.push(hint),
      living: async () => this.alive,
      launch: (note) => this.#launch(note),
      ...parts,
    });
    t.after(() => usb.close());
    return usb;
  }

  ownQmp(uuid: VmUuid): string {
    return join(this.root, uuid);
  }

  /** Plugs a device into dom0, and gives it as it is listed. */
  plug(busid: string, devnum: number, more: Partial<FakeDevice> = {}): UsbDevice {
    const device = { descriptors: 'stick' as const, devnum, ...more };
    this.sysfs.plug(busid, device);
    writeFileSync(this.nodeOf(busid, devnum), '');
    writeFileSync(join(this.sysfs.root, 'bus/usb/devices', busid, 'bConfigurationValue'), '1\n');
    writeFileSync(join(this.sysfs.root, 'bus/usb/devices', busid, 'idVendor'), '46f4\n');
    writeFileSync(join(this.sysfs.root, 'bus/usb/devices', busid, 'idProduct'), '0001\n');
    this.bind(busid, 'usb-storage');
    const facts = readDescriptors(readFileSync(join(this.sysfs.root, 'bus/usb/devices', busid, 'descriptors')));
    if (facts === undefined) throw new Error('no descriptors');
    const bus = Number.parseInt(busid, 10);
    return {
      backend: 'dom0',
      busid,
      deviceId: formatDeviceId({ ...facts, untrustedSerial: device.serial }),
      vendorId: facts.vendorId,
      productId: facts.productId,
      speed: 'high',
      interfaces: facts.interfaces,
      generation: hostGeneration(BOOT, bus, devnum),
      host: { bus, devnum },
    };
  }

  /** As the kernel does it: the node first. */
  unplug(busid: string): void {
    const devnum = Number(readFileSync(join(this.sysfs.root, 'bus/usb/devices', busid, 'devnum'), 'utf8'));
    rmSync(this.nodeOf(busid, devnum));
    this.bind(busid, undefined);
    this.sysfs.unplug(busid);
  }

  nodeOf(busid: string, devnum: number): string {
    const numbers = [Number.parseInt(busid, 10), devnum].map((number) => String(number).padStart(3, '0'));
    return join(this.usbfsRoot, ...numbers);
  }

  /** Gives the place of the device that has this node now. */
  busidOf(node: string): string | undefined {
    const folder = join(this.sysfs.root, 'bus/usb/devices');
    return readdirSync(folder).find((busid) => {
      try {
        return this.nodeOf(busid, Number(readFileSync(join(folder, busid, 'devnum'), 'utf8'))) === node;
      } catch {
        return false;
      }
    });
  }

  /** Binds the device's only interface to a driver, or to none. */
  bind(busid: string, driver: string | undefined): void {
    const link = join(this.sysfs.root, 'bus/usb/devices', `${busid}:1.0`, 'driver');
    rmSync(link, { force: true });
    if (driver !== undefined) symlinkSync(`../../../../bus/usb/drivers/${driver}`, link);
  }

  /** Which interfaces the kernel was last asked to find a driver for. */
  get probed(): string {
    return readFileSync(join(this.sysfs.root, 'bus/usb/drivers_probe'), 'utf8');
  }

  /** Makes a domain as libxl does, with one controller, and its device model; one of ours has a QMP socket of ours. */
  async domain(domid: number, more: Partial<RigDomain> & { readonly isOurs?: boolean } = {}): Promise<RigDomain> {
    const { uuid = uuidOf(domid), name = `vm${domid}`, kind = 'pv', isOurs = false } = more;
    const { client } = this.store;
    const home = `/local/domain/${domid}`;
    await client.introduce(domid, 1n, domid);
    await client.write(`${home}/vm`, `/vm/${uuid}`);
    await client.write(`${home}/name`, name);
    await client.write(`/libxl/${domid}/type`, kind);
    const model = await this.serve(domid);
    if (isOurs) await model.listen(this.ownQmp(uuid));
    await this.controller(domid, 0, kind === 'hvm' ? 'devicemodel' : 'qusb');
    this.alive.add(domid);
    return { domid, uuid, name, kind };
  }

  /** Starts a device model for a domain. */
  async serve(domid: number): Promise<FakeModel> {
    const model = new FakeModel(this, domid, this.#nextPid++);
    this.models.push(model);
    await model.begin();
    await this.store.client.write(`/local/domain/${domid}/image/device-model-pid`, String(model.pid));
    return model;
  }

  async controller(domid: number, index: number, type: 'qusb' | 'devicemodel', ports = 4): Promise<void> {
    const { client } = this.store;
    const libxl = `/libxl/${domid}/device/vusb/${index}`;
    const folders = type === 'qusb' ? [libxl, `/local/domain/0/backend/qusb/${domid}/${index}`] : [libxl];
    for (const folder of folders) {
      await client.write(`${folder}/type`, type);
      await client.write(`${folder}/usb-ver`, type === 'qusb' ? '2' : '3');
      await client.write(`${folder}/num-ports`, String(ports));
      await client.write(`${folder}/state`, '4');
      for (let port = 1; port <= ports; port++) await client.write(`${folder}/port/${port}`, '');
    }
  }

  /** What `xl destroy` leaves: nothing. */
  async destroy({ domid, uuid }: UsbDomain): Promise<void> {
    const { client } = this.store;
    this.alive.delete(domid);
    await client.rm(`/local/domain/0/device-model/${domid}`);
    for (const model of this.models) if (model.domid === domid) await model.stop();
    for (const path of [
      `/local/domain/${domid}`,
      `/vm/${uuid}`,
      `/libxl/${domid}`,
      `/local/domain/0/backend/qusb/${domid}`,
    ]) {
      await client.rm(path);
    }
    await client.release(domid);
  }

  port(domid: number, port: number, controller = 0): Promise<string | undefined> {
    return this.store.client.read(portPath('qusb', domid, { controller, port }));
  }

  /** Waits until something is so. */
  async until(what: string, probe: () => Promise<boolean> | boolean): Promise<void> {
    await pollUntil({ what, timeoutMs: 10_000, everyMs: 5 }, async () => ((await probe()) ? true : undefined));
  }

  async #xl(words: string[]): Promise<string> {
    this.xlWords.push(words);
    if (words[0] === 'usbctrl-attach') {
      const domid = Number(words[1]);
      const taken = (await this.store.client.directory(`/libxl/${domid}/device/vusb`)) ?? [];
      const ports = Number(words.find((word) => word.startsWith('ports='))?.slice('ports='.length));
      await this.controller(domid, taken.length, words[2] === 'type=qusb' ? 'qusb' : 'devicemodel', ports);
    }
    return '';
  }

  #launch(note: ModelNote): number {
    const domid = Number(note.argv[note.argv.indexOf('-xen-domid') + 1]);
    const model = new FakeModel(this, domid, this.#nextPid++);
    this.models.push(model);
    void model.begin();
    return model.pid;
  }
}
