/**
 * For tests only: the sysfs, procfs and device nodes of a host in a temporary folder, with the symbolic links that the kernel
 * makes. Whole hosts, built with it, are in hosts.ts. What a device says of itself, see model/testing/sysfs-tree.ts.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import type { HostRoots } from '../host-files.ts';

/** Capabilities as Linux 6.1 on 64 bits shows them of real devices. */
export const LOOKS = {
  keyboard: {
    ev: '120013',
    key: '1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe',
    rel: '0',
    abs: '0',
  },
  ps2Keyboard: { ev: '120013', key: '402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe', rel: '0', abs: '0' },
  numericPad: { ev: '120013', key: '5000fffa0 10004000', rel: '0', abs: '0' },
  mouse: { ev: '17', key: 'ff0000 0 0 0 0', rel: '1943', abs: '0' },
  touchpad: { ev: 'b', key: 'e520 10000 0 0 0 0', rel: '0', abs: '2e0800000000003' },
  touchscreen: { ev: 'b', key: '400 0 0 0 0 0', rel: '0', abs: '3273800000000003' },
  joystick: { ev: '1b', key: 'ffff00000000 0 0 0 0', rel: '0', abs: '3003f' },
  consumerControl: {
    ev: '1f',
    key: '3f000301ff 0 0 483ffff17aff32d bfd4444600000000 1 130ff38b17c000 677bfad9415fed 9ed68000004400 10000002',
    rel: '1040',
    abs: '100000000',
  },
  powerButton: { ev: '3', key: '10000000000000 0', rel: '0', abs: '0' },
  videoBus: { ev: '3', key: '3e000b00000000 0 0 0', rel: '0', abs: '0' },
  lidSwitch: { ev: '21', key: '0', rel: '0', abs: '0' },
  pcSpeaker: { ev: '40001', key: '0', rel: '0', abs: '0' },
} as const;

type Attributes = Readonly<Record<string, string>>;

export interface TreeDevice {
  readonly product?: string;
  readonly vendor?: string;
  readonly removable?: string;
  readonly devnum?: number;
  /** Class triple and kernel driver of each interface. */
  readonly interfaces: readonly (readonly [triple: string, driver?: string])[];
}

export interface TreeBlock {
  readonly number: string;
  /** Folder of sysfs that it hangs on. Default: it is virtual. */
  readonly at?: string;
  readonly sectors?: number;
  readonly partitions?: Readonly<Record<string, string>>;
  readonly on?: readonly string[];
  readonly attributes?: Attributes;
}

export interface TreeInput {
  readonly at: string;
  readonly name: string;
  readonly phys?: string;
  readonly bus?: string;
  readonly vendor?: string;
  readonly looks: keyof typeof LOOKS;
  readonly inhibited?: string;
}

export class HostTree {
  readonly #root = mkdtempSync(join(tmpdir(), 'usher-tree-'));
  readonly roots: HostRoots = {
    sysRoot: join(this.#root, 'sys'),
    procRoot: join(this.#root, 'proc'),
    devRoot: join(this.#root, 'dev'),
    runRoot: join(this.#root, 'run'),
  };
  readonly #folders = new Map<string, string>();
  readonly #mounts: string[] = [];
  #inputs = 0;

  constructor() {
    this.file('proc/swaps', 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n');
    this.file(
      'proc/net/route',
      'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n',
    );
    this.file('proc/net/ipv6_route', '');
    this.mount('/', '8:2', 'ext4', '/dev/sda2');
    this.block('sda', {
      number: '8:0',
      at: this.pci('0000:00:17.0', '0x010601'),
      partitions: { sda1: '8:1', sda2: '8:2' },
    });
  }

  remove(): void {
    rmSync(this.#root, { recursive: true });
  }

  /** Writes a file below the root, `proc/swaps`, over what was there. */
  file(path: string, text: string): void {
    mkdirSync(dirname(join(this.#root, path)), { recursive: true });
    writeFileSync(join(this.#root, path), text);
  }

  delete(path: string): void {
    rmSync(join(this.#root, path), { recursive: true });
  }

  /** Makes a folder of sysfs with attributes, and gives its path below `sys`. */
  folder(path: string, attributes: Attributes = {}): string {
    mkdirSync(join(this.roots.sysRoot, path), { recursive: true });
    for (const [name, value] of Object.entries(attributes)) this.file(join('sys', path, name), `${value}\n`);
    return path;
  }

  /** Makes a symbolic link in sysfs, relative as the kernel's are. */
  link(at: string, target: string): void {
    const place = join(this.roots.sysRoot, at);
    mkdirSync(dirname(place), { recursive: true });
    rmSync(place, { force: true });
    symlinkSync(relative(dirname(place), join(this.roots.sysRoot, target)), place);
  }

  /** Makes a symbolic link in the folder of nodes, `mapper/vg-data` to `dm-0`. */
  nodeLink(at: string, name: string): void {
    const place = join(this.roots.devRoot, at);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(relative(dirname(place), join(this.roots.devRoot, name)), place);
  }

  /** `bridges` are the PCI folders above it. */
  pci(address: string, classCode: string, driver?: string, bridges = ''): string {
    const path = this.folder(join('devices/pci0000:00', bridges, address), { class: classCode });
    this.link(join('bus/pci/devices', address), path);
    if (driver !== undefined) this.#drive(path, `bus/pci/drivers/${driver}`);
    return path;
  }

  /** Adds a root hub to a controller. */
  bus(number: number, controller: string, speed = '480'): string {
    const name = `usb${number}`;
    const path = this.folder(join(controller, name), { devnum: '1', speed, removable: 'unknown' });
    this.#folders.set(name, path);
    this.link(join('bus/usb/devices', name), path);
    this.#interface(path, `${number}-0:1.0`, '090000', 'hub');
    return path;
  }

  /** Tells the kernel's opinion that two root ports are one socket. */
  peers(left: readonly [bus: number, port: number], right: readonly [bus: number, port: number]): void {
    const portOf = ([bus, port]: readonly [number, number]) =>
      this.folder(join(this.at(`usb${bus}`), `${bus}-0:1.0`, `usb${bus}-port${port}`));
    this.link(join(portOf(left), 'peer'), portOf(right));
    this.link(join(portOf(right), 'peer'), portOf(left));
  }

  /** Plugs a device below its hub, which must be there already; gives its folder. */
  usb(busid: string, { interfaces, devnum = 5, vendor = '046d', ...rest }: TreeDevice): string {
    const above = busid.includes('.') ? busid.slice(0, busid.lastIndexOf('.')) : `usb${Number.parseInt(busid, 10)}`;
    const path = this.folder(join(this.at(above), busid), { devnum: String(devnum), idVendor: vendor, ...rest });
    this.#folders.set(busid, path);
    this.link(join('bus/usb/devices', busid), path);
    for (const [at, [triple, driver]] of interfaces.entries())
      this.#interface(path, `${busid}:1.${at}`, triple, driver);
    return path;
  }

  unplug(busid: string): void {
    rmSync(join(this.roots.sysRoot, this.at(busid)), { recursive: true });
    rmSync(join(this.roots.sysRoot, 'bus/usb/devices', busid));
  }

  /** Gives the folder of a device, a root hub, an interface or a block device. */
  at(name: string): string {
    const path = this.#folders.get(name);
    if (path === undefined) throw new Error(`the tree has no ${name}`);
    return path;
  }

  /** Binds an interface to a kernel driver, or to none. */
  drive(name: string, driver: string | undefined): void {
    rmSync(join(this.roots.sysRoot, this.at(name), 'driver'), { force: true });
    if (driver !== undefined) this.#drive(this.at(name), `bus/usb/drivers/${driver}`);
  }

  block(name: string, { number, at, sectors = 1000, partitions = {}, on = [], attributes = {} }: TreeBlock): void {
    const parent = at === undefined ? 'devices/virtual/block' : join(at, 'block');
    const path = this.#block(name, join(parent, name), { dev: number, size: String(sectors), ...attributes });
    for (const [at, [partition, number]] of Object.entries(partitions).entries()) {
      this.#block(partition, join(path, partition), { dev: number, size: '500', partition: String(at + 1) });
    }
    for (const part of on) {
      this.link(join(path, 'slaves', part), this.at(part));
      this.link(join(this.at(part), 'holders', name), path);
    }
  }

  /** Gives the folder in which a USB disk of the SCSI layer stands, `…/6:0:0:0`. */
  scsi(interfaceName: string, host: number): string {
    return this.folder(join(this.at(interfaceName), `host${host}/target${host}:0:0/${host}:0:0:0`));
  }

  net(name: string, more: { readonly at?: string; readonly flags?: string; readonly under?: string } = {}): void {
    const { at, flags = '0x1003', under } = more;
    const path = at === undefined ? `devices/virtual/net/${name}` : join(at, 'net', name);
    rmSync(join(this.roots.sysRoot, path), { recursive: true, force: true });
    this.folder(path, { flags });
    this.#folders.set(name, path);
    this.link(join('class/net', name), path);
    if (under !== undefined) this.link(join(path, `upper_${under}`), this.at(under));
  }

  /** Adds an input device with one event node. */
  input({ at, name, phys = '', bus = '0003', vendor = '046d', looks, inhibited = '0' }: TreeInput): string {
    const number = this.#inputs++;
    const path = this.folder(join(at, `input/input${number}`), { name, phys, inhibited });
    this.folder(join(path, 'id'), { bustype: bus, vendor });
    this.folder(join(path, 'capabilities'), LOOKS[looks]);
    this.folder(join(path, `event${number}`));
    this.link(`class/input/input${number}`, path);
    this.link(`class/input/event${number}`, join(path, `event${number}`));
    return path;
  }

  /** Adds a line to `/proc/self/mountinfo`. */
  mount(at: string, number: string, type: string, source: string, options = 'rw'): void {
    const id = 20 + this.#mounts.length;
    this.#mounts.push(`${id} 1 ${number} / ${at} rw,relatime shared:${id} - ${type} ${source} ${options}`);
    this.file('proc/self/mountinfo', `${this.#mounts.join('\n')}\n`);
  }

  /** Takes away all mounts, for a host whose root is elsewhere. */
  unmountAll(): void {
    this.#mounts.length = 0;
  }

  #block(name: string, path: string, attributes: Attributes): string {
    this.folder(path);
    for (const [attribute, value] of Object.entries(attributes)) {
      this.file(join('sys', path, attribute), `${value}\n`);
    }
    this.#folders.set(name, path);
    this.link(join('class/block', name), path);
    this.file(join('dev', name), 'x'.repeat(512));
    return path;
  }

  #interface(device: string, name: string, triple: string, driver: string | undefined): void {
    const [of = '', sub = '', protocol = ''] = triple.match(/../g) ?? [];
    const path = this.folder(join(device, name), {
      bInterfaceClass: of,
      bInterfaceSubClass: sub,
      bInterfaceProtocol: protocol,
    });
    this.#folders.set(name, path);
    this.link(join('bus/usb/devices', name), path);
    if (driver !== undefined) this.#drive(path, `bus/usb/drivers/${driver}`);
  }

  #drive(path: string, driver: string): void {
    this.folder(driver);
    this.link(join(path, 'driver'), driver);
  }
}
