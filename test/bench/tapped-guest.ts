/**
 * One guest, started by Usher, with a tap in the QMP connection between the two, so that a bare script speaks to the same
 * QEMU over the same connection. For benchmarks that attach by both in turns.
 */
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, guestImage } from '../../lab/guest.ts';
import type { Client } from '../../src/api/client.ts';
import { Home } from './home.ts';
import { type Peer, startPeer } from './peers/peer.ts';
import { QmpTap } from './qmp-tap.ts';

const VM = 'bench';
const BOOT_TIMEOUT_MS = 180_000;

interface Parts {
  readonly home: Home;
  readonly client: Client;
  readonly console: GuestConsole;
  readonly tap: QmpTap;
  readonly peer: Peer;
  readonly bare: Socket;
}

export class TappedGuest {
  readonly #parts: Parts;

  private constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Boots the guest, in which every software device belongs, then starts the daemon anew with the tap before QEMU. */
  static async boot(ports: number): Promise<TappedGuest> {
    const home = await Home.make();
    try {
      return await TappedGuest.#bootIn(home, ports);
    } catch (error) {
      await endVm(home).catch(() => undefined); // The first failure is the one to tell.
      await home.remove();
      throw error;
    }
  }

  static async #bootIn(home: Home, ports: number): Promise<TappedGuest> {
    const first = await home.start();
    const { uuid } = await first.call('vm.create', { content: await configText(ports) });
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
    return new TappedGuest({ home, client, console, tap, peer, bare });
  }

  /** A folder for files, which goes with the guest. */
  get folder(): string {
    return this.#parts.home.folder;
  }

  get client(): Client {
    return this.#parts.client;
  }

  get console(): GuestConsole {
    return this.#parts.console;
  }

  get tap(): QmpTap {
    return this.#parts.tap;
  }

  /** Has the bare script send a command. Names that it gives to QEMU begin with `bare`. */
  send(execute: string, args: object): void {
    this.#parts.bare.write(`${JSON.stringify({ execute, arguments: args, id: `bare-${execute}` })}\n`);
  }

  async end(): Promise<void> {
    const { home, client, console, tap, peer, bare } = this.#parts;
    bare.destroy();
    await peer.end();
    client.close();
    console.close();
    await endVm(home);
    tap.close();
    await home.remove();
  }
}

async function configText(ports: number): Promise<string> {
  const { kernel, initrd } = await guestImage();
  const boot = [`kernel = ${kernel}`, `initrd = ${initrd}`, `cmdline = ${GUEST_CMDLINE}`];
  const controllers = `usbctrl = ["version=3,ports=${ports}"]`;
  return [`name = ${VM}`, 'driver = qemu', ...boot, controllers, 'memory = 192', ''].join('\n');
}

/** Ends the VM, with whatever daemon there is, or another. */
async function endVm(home: Home): Promise<void> {
  const client = await home.connect().catch(() => home.start());
  await client.call('vm.destroy', { vm: VM });
  client.close();
}
