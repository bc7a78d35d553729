/**
 * The hands that plug USB devices into a host from outside, pull them out, and type: QMP's `device_add` and `device_del` on
 * its xHCI controller, and `send-key`. Knows what it has plugged, not what the host makes of it.
 */
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../src/lib/fault.ts';
import type { QmpSession } from '../src/wire/qmp/session.ts';
import { makeStick, type StickContent } from './stick.ts';

/** What hands need of a host. */
export interface HandsHost {
  /** Of the QEMU that runs now: it changes when the host is rebooted. */
  readonly qmp: QmpSession;
  /** Where sticks that are given no file have theirs. */
  readonly folder: string;
}

export interface PlugOptions {
  /** How the hands call it from now on. Default: its serial number, else its kind and a number. */
  readonly name?: string | undefined;
  /** The socket: `3`, or `3.2` for the second of the hub in it. Default: the first that is free. */
  readonly port?: string | undefined;
  /** Its serial number. Default: QEMU's of that kind. */
  readonly serial?: string | undefined;
  /** The content of a storage device, a file on this machine. Default: that of the last one with this name, else empty. */
  readonly file?: string | undefined;
  /** Makes that content anew. */
  readonly content?: StickContent | undefined;
}

export interface PluggedDevice {
  readonly name: string;
  readonly kind: DeviceKind;
  readonly port: string;
  /** Where the host will see it. */
  readonly busid: string;
  readonly serial?: string;
  /** The content of a storage device. */
  readonly file?: string;
}

const DRIVERS = {
  storage: 'usb-storage',
  keyboard: 'usb-kbd',
  mouse: 'usb-mouse',
  tablet: 'usb-tablet',
  serial: 'usb-serial',
  hub: 'usb-hub',
} as const;

export type DeviceKind = keyof typeof DRIVERS;

/** Every kind of device that can be plugged. */
export const DEVICE_KINDS = Object.keys(DRIVERS) as readonly DeviceKind[];

const SOCKETS = 8;
const NAME = /^[A-Za-z][A-Za-z0-9._-]{0,30}$/; // QEMU's names of block nodes end at 31.
const PORT = /^[1-8](\.[1-8]){0,4}$/;
const PULL_TIMEOUT_MS = 10_000;
/** How long a key is down. */
const KEY_MS = 40;

/**
 * Two hands at one host.
 *
 * INVARIANTS:
 * - A name and a socket are taken from the call of `plug` on, before anything is waited for, until the end of `pull`;
 *   so calls may overlap.
 * - What QEMU refused is not in the list.
 */
export class DeviceHands {
  readonly #host: HandsHost;
  readonly #title: string;
  readonly #plugged = new Map<string, PluggedDevice>();
  /** Contents by name: a stick that is plugged again is the same stick. */
  readonly #files = new Map<string, string>();

  constructor(host: HandsHost, title: string) {
    this.#host = host;
    this.#title = title;
  }

  /** Lists what is plugged, in the order of plugging. */
  get plugged(): readonly PluggedDevice[] {
    return [...this.#plugged.values()];
  }

  /**
   * Plugs a device in; does not wait for the host to see it.
   * @throws Fault `params.invalid`, `usb.port_busy`; QmpError when QEMU refuses.
   */
  async plug(kind: DeviceKind, options: PlugOptions = {}): Promise<PluggedDevice> {
    const { serial } = options;
    const name = this.#nameFor(kind, options);
    const port = this.#portFor(name, options.port);
    const file = kind === 'storage' ? this.#fileFor(name, options) : undefined;
    const device: PluggedDevice = {
      ...{ name, kind, port, busid: busidOf(kind, port) },
      ...(serial === undefined ? {} : { serial }),
      ...(file === undefined ? {} : { file }),
    };
    this.#plugged.set(name, device);
    try {
      if (file !== undefined) await this.#prepare(file, options);
      await this.#add(device);
      return device;
    } catch (error) {
      this.#plugged.delete(name);
      throw error;
    }
  }

  /** Pulls a device out and waits until its file is free; the host may not have noticed yet. @throws Fault `params.invalid`. */
  async pull(name: string): Promise<PluggedDevice> {
    const device = this.#plugged.get(name);
    if (device === undefined) throw invalid('name', `nothing plugged is called "${name}"`);
    const { qmp } = this.#host;
    await qmp.executeUntil(
      'device_del',
      { id: name },
      (event) => event.name === 'DEVICE_DELETED' && event.data.device === name,
      { timeoutMs: PULL_TIMEOUT_MS },
    );
    if (device.kind === 'storage') await qmp.execute('blockdev-del', { 'node-name': name });
    if (device.kind === 'serial') await qmp.execute('chardev-remove', { id: name });
    this.#plugged.delete(name);
    return device;
  }

  /**
   * Types lower-case letters on the keyboard that was plugged last of those that are plugged, whoever has it; does not wait
   * for anybody to read them.
   */
  async type(letters: string): Promise<void> {
    for (const data of letters) {
      await this.#host.qmp.execute('send-key', { keys: [{ type: 'qcode', data }], 'hold-time': KEY_MS });
    }
  }

  /** Gives the file with the content of a stick that is plugged or was. @throws Fault `params.invalid`. */
  fileOf(name: string): string {
    const file = this.#files.get(name);
    if (file === undefined) throw invalid('name', `no stick is called "${name}"`);
    return file;
  }

  /** Plugs everything in again that was plugged: into a host that was rebooted, whose sockets nobody touched. */
  async plugAllAgain(): Promise<void> {
    for (const device of this.plugged) await this.#add(device);
  }

  async #prepare(file: string, { file: given, content }: PlugOptions): Promise<void> {
    if (given !== undefined && content === undefined) return;
    await mkdir(join(this.#host.folder, 'sticks'), { recursive: true });
    if (content !== undefined || !(await exists(file))) await makeStick(file, content);
  }

  async #add({ name, kind, port, serial, file }: PluggedDevice): Promise<void> {
    const { qmp } = this.#host;
    const device = { driver: DRIVERS[kind], id: name, bus: 'xhci.0', port, serial };
    if (kind === 'storage') {
      await qmp.execute('blockdev-add', { driver: 'raw', 'node-name': name, file: { driver: 'file', filename: file } });
      await orElse(qmp.execute('device_add', { ...device, drive: name }), () =>
        qmp.execute('blockdev-del', { 'node-name': name }),
      );
    } else if (kind === 'serial') {
      await qmp.execute('chardev-add', { id: name, backend: { type: 'null', data: {} } });
      await orElse(qmp.execute('device_add', { ...device, chardev: name, 'always-plugged': true }), () =>
        qmp.execute('chardev-remove', { id: name }),
      );
    } else await qmp.execute('device_add', device);
  }

  #nameFor(kind: DeviceKind, { name, serial }: PlugOptions): string {
    if (name !== undefined && !NAME.test(name)) throw invalid('name', `"${name}" as a device's name`);
    const wanted = name ?? (serial !== undefined && NAME.test(serial) ? serial : undefined);
    if (wanted !== undefined) {
      if (this.#plugged.has(wanted)) throw invalid('name', `"${wanted}" is plugged already`);
      return wanted;
    }
    for (let number = 1; ; number++) if (!this.#plugged.has(`${kind}${number}`)) return `${kind}${number}`;
  }

  #portFor(name: string, port: string | undefined): string {
    const taken = new Map(this.plugged.map((device) => [device.port, device.name]));
    if (port === undefined) {
      for (let number = 1; number <= SOCKETS; number++) if (!taken.has(String(number))) return String(number);
      throw invalid('port', `no socket is left for ${name}`);
    }
    if (!PORT.test(port)) throw invalid('port', `"${port}" as a socket; they are 1 to ${SOCKETS}, behind a hub 3.1`);
    const other = taken.get(port);
    if (other !== undefined) throw new Fault('usb.port_busy', { port, vm: this.#title, other });
    return port;
  }

  #fileFor(name: string, { file }: PlugOptions): string {
    const path = file ?? this.#files.get(name) ?? join(this.#host.folder, 'sticks', name);
    this.#files.set(name, path);
    return path;
  }
}

/** The controller has a USB 2 bus and a USB 3 bus with the same sockets; of QEMU's devices only disks are USB 3. */
function busidOf(kind: DeviceKind, port: string): string {
  return kind === 'storage' && !port.includes('.') ? `2-${port}` : `1-${port}`;
}

/** Waits for `work`; when it fails, undoes what came before it and fails the same. */
async function orElse(work: Promise<unknown>, undo: () => Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    await undo();
    throw error;
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function invalid(field: string, what: string): Fault {
  return new Fault('params.invalid', { field, what });
}
