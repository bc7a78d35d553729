/**
 * The stage of the attach benchmark: one guest, started by Usher, in which devices are attached by Usher and by a bare
 * script in turns, over one and the same QMP connection. Every moment is taken by this process's monotonic clock.
 */
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, guestImage } from '../../lab/guest.ts';
import type { Client } from '../../src/api/client.ts';
import { Home } from './home.ts';
import { type Peer, startPeer } from './peers/peer.ts';
import { QmpTap } from './qmp-tap.ts';

/** How long one device took, in milliseconds. */
export interface AttachTimes {
  /** From the request's last byte until `device_add` was on its way to QEMU. */
  readonly sentMs: number;
  /** From the request until the guest's kernel has told of the device. */
  readonly reportedMs: number;
}

const VM = 'bench';
const PLACE = 'virtual:1-1';
const GUEST_TIMEOUT_MS = 60_000;
const BOOT_TIMEOUT_MS = 180_000;

export class AttachStage {
  readonly #home: Home;
  readonly #client: Client;
  readonly #console: GuestConsole;
  readonly #tap: QmpTap;
  readonly #peer: Peer;
  readonly #bare: Socket;
  /** What the daemon last sent: the bare script sends the same, but for the id. */
  #arguments: Readonly<Record<string, unknown>> | undefined;
  #count = 0;

  private constructor(parts: {
    readonly home: Home;
    readonly client: Client;
    readonly console: GuestConsole;
    readonly tap: QmpTap;
    readonly peer: Peer;
    readonly bare: Socket;
  }) {
    this.#home = parts.home;
    this.#client = parts.client;
    this.#console = parts.console;
    this.#tap = parts.tap;
    this.#peer = parts.peer;
    this.#bare = parts.bare;
  }

  /** Boots the guest, then starts the daemon anew with the tap between it and QEMU. */
  static async set(): Promise<AttachStage> {
    const home = await Home.make();
    try {
      return await AttachStage.#setIn(home);
    } catch (error) {
      await endVm(home).catch(() => undefined); // The first failure is the one to tell.
      await home.remove();
      throw error;
    }
  }

  static async #setIn(home: Home): Promise<AttachStage> {
    const first = await home.start();
    const { uuid } = await first.call('vm.create', { content: await configText() });
    await first.call('usb.assign', { vm: VM, device: 'virtual:*', mode: 'auto' });
    await first.call('vm.start', { vm: VM });
    const { console: paths } = await first.call('vm.show', { vm: VM });
    first.close();
    const log = GuestConsole.follow(paths.log);
    await log.waitFor(/^USHER-GUEST ready /, { timeoutMs: BOOT_TIMEOUT_MS });
    log.close();
    await home.end('SIGTERM');
    const tap = await QmpTap.open(join(home.places.runtimeFolder, 'qemu', uuid, 'qmp.sock'));
    const client = await home.start();
    const socket = join(home.folder, 'bare.sock');
    const peer = await startPeer('bare-attach.ts', [socket, tap.bareSocket]);
    const bare = connect(socket);
    bare.resume();
    const console = await GuestConsole.connect(paths.socket);
    return new AttachStage({ home, client, console, tap, peer, bare });
  }

  /** Has Usher attach a software device: a request to plug it in comes, and an assignment sends it to the VM. */
  async byUsher(): Promise<AttachTimes> {
    const serial = this.#serial();
    const passed = this.#tap.nextDeviceAdd(false);
    const since = this.#console.position;
    const start = performance.now();
    const plugged = this.#client.call('usb.plug', { at: PLACE, kind: 'tablet', serial });
    const reported = await this.#reported(serial, since);
    await plugged;
    const { at, arguments: sent } = await passed;
    this.#arguments = sent;
    await this.#gone(() => this.#client.call('usb.unplug', { device: PLACE }));
    return { sentMs: at - start, reportedMs: reported - start };
  }

  /** Has the bare script send the `device_add` that Usher sent. Legal after `byUsher`. */
  async byScript(): Promise<AttachTimes> {
    const serial = this.#serial();
    const id = `bare-${serial}`;
    const passed = this.#tap.nextDeviceAdd(true);
    const since = this.#console.position;
    const start = performance.now();
    this.#send('device_add', { ...this.#arguments, id, serial });
    const reported = await this.#reported(serial, since);
    const { at } = await passed;
    await this.#gone(async () => this.#send('device_del', { id }));
    return { sentMs: at - start, reportedMs: reported - start };
  }

  async clear(): Promise<void> {
    this.#bare.destroy();
    await this.#peer.end();
    this.#client.close();
    this.#console.close();
    await endVm(this.#home);
    this.#tap.close();
    await this.#home.remove();
  }

  #serial(): string {
    this.#count += 1;
    return `B${this.#count}`;
  }

  #send(execute: string, args: object): void {
    this.#bare.write(`${JSON.stringify({ execute, arguments: args, id: `bare-${execute}` })}\n`);
  }

  async #reported(serial: string, since: number): Promise<number> {
    const pattern = new RegExp(`^USHER-GUEST usb\\+ .* serial=${serial} `);
    return (await this.#console.waitFor(pattern, { timeoutMs: GUEST_TIMEOUT_MS, since })).at;
  }

  async #gone(remove: () => Promise<unknown>): Promise<void> {
    const since = this.#console.position;
    await remove();
    await this.#console.waitFor(/^USHER-GUEST usb- /, { timeoutMs: GUEST_TIMEOUT_MS, since });
  }
}

async function configText(): Promise<string> {
  const { kernel, initrd } = await guestImage();
  const boot = [`kernel = ${kernel}`, `initrd = ${initrd}`, `cmdline = ${GUEST_CMDLINE}`];
  return [`name = ${VM}`, 'driver = qemu', ...boot, 'memory = 192', ''].join('\n');
}

/** Ends the VM, with whatever daemon there is, or another. */
async function endVm(home: Home): Promise<void> {
  const client = await home.connect().catch(() => home.start());
  await client.call('vm.destroy', { vm: VM });
  client.close();
}
