/**
 * A device model for tests: does what QEMU's xen-usb.c does with port nodes, and what QEMU does by QMP; its process is a
 * folder that looks like /proc's. For tests only.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { XenstoreClient } from '../../../wire/xenstore/client.ts';
import { ModelQmp } from './model-qmp.ts';
import type { UsbRig } from './usb-rig.ts';

export class FakeModel {
  readonly domid: number;
  readonly pid: number;
  /** Whether it does nothing at all. */
  isDeaf = false;
  /** Whether it leaves the devices that it lets go of without a driver. */
  isCareless = false;
  qmp: ModelQmp | undefined;
  /** By port, as `0-1`, or by the id in QMP: the busid, and the file descriptor. */
  readonly held = new Map<string, { readonly busid: string; readonly fd: string }>();
  readonly #rig: UsbRig;
  #client: XenstoreClient | undefined;
  #nextFd = 3;
  #working: Promise<void> = Promise.resolve();

  constructor(rig: UsbRig, domid: number, pid: number) {
    this.#rig = rig;
    this.domid = domid;
    this.pid = pid;
    const folder = this.#folder;
    mkdirSync(join(folder, 'fd'), { recursive: true });
    writeFileSync(join(folder, 'cmdline'), `/usr/libexec/xen-qemu-system-i386\0-xen-domid\0${domid}\0-name\0x\0`);
    writeFileSync(join(folder, 'stat'), `${pid} (qemu) S ${'0 '.repeat(18)}${pid * 7} 0\n`);
  }

  async begin(): Promise<void> {
    this.#client = await XenstoreClient.connect({ path: this.#rig.store.path });
    await this.#client.write(`/local/domain/0/device-model/${this.domid}/backends/qusb`, '');
    await this.#client.write(`/local/domain/0/device-model/${this.domid}/state`, 'running');
    await this.#client.watch(`/local/domain/0/backend/qusb/${this.domid}`, () => this.look());
  }

  /** Listens for QMP. */
  async listen(path: string): Promise<void> {
    this.qmp = await ModelQmp.listen(path, {
      added: (id, { hostdevice }) => {
        if (hostdevice === undefined) return undefined;
        const busid = this.#rig.busidOf(hostdevice);
        if (busid === undefined) return `failed to open ${hostdevice}: No such file or directory`;
        this.#take(id, busid);
        return undefined;
      },
      removed: (id) => this.#release(id),
    });
  }

  /** It aborts: its process is gone, devices have no driver, nodes stay. */
  async die(): Promise<void> {
    rmSync(this.#folder, { recursive: true, force: true });
    for (const { busid } of this.held.values()) this.#rig.bind(busid, undefined);
    this.held.clear();
    this.qmp?.close();
    this.#client?.close();
    this.#client = undefined;
    await this.#working.catch(() => undefined);
  }

  /** It is told to go: devices get their drivers back. */
  async stop(): Promise<void> {
    for (const key of [...this.held.keys()]) this.#release(key);
    await this.die();
  }

  /** Looks at its ports again. */
  look(): void {
    this.#working = this.#working.then(() => this.#obey()).catch(() => undefined);
  }

  async #obey(): Promise<void> {
    const client = this.#client;
    if (client === undefined || this.isDeaf) return;
    const root = `/local/domain/0/backend/qusb/${this.domid}`;
    for (const controller of (await client.directory(root)) ?? []) {
      for (const port of (await client.directory(`${root}/${controller}/port`)) ?? []) {
        const key = `${controller}-${port}`;
        const value = await client.read(`${root}/${controller}/port/${port}`);
        if (value === undefined || value === '') this.#release(key);
        else if (!this.held.has(key)) this.#take(key, value);
      }
    }
  }

  #take(key: string, busid: string): void {
    const bus = readdirSync(join(this.#rig.sysfs.root, 'bus/usb/devices'));
    if (!bus.includes(busid)) return;
    const devnum = Number(readFileSync(join(this.#rig.sysfs.root, 'bus/usb/devices', busid, 'devnum'), 'utf8'));
    const fd = join(this.#folder, 'fd', String(this.#nextFd++));
    symlinkSync(this.#rig.nodeOf(busid, devnum), fd);
    this.held.set(key, { busid, fd });
    this.#rig.bind(busid, 'usbfs');
  }

  #release(key: string): void {
    const there = this.held.get(key);
    if (there === undefined) return;
    rmSync(there.fd, { force: true });
    this.held.delete(key);
    try {
      this.#rig.bind(there.busid, this.isCareless ? undefined : 'usb-storage');
    } catch {
      // It was unplugged.
    }
  }

  get #folder(): string {
    return join(this.#rig.procRoot, String(this.pid));
  }
}
