/** A bare QEMU with the small guest, for the tests of that guest: a few lines of QMP, on purpose none of our own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, guestImage } from '../../lab/guest.ts';
import { withDeadline } from '../../src/lib/deadline.ts';

type QmpMessage = { return?: unknown; error?: { desc: string }; event?: string; data?: Record<string, unknown> };

const READY_TIMEOUT_MS = 120_000;
const QMP_TIMEOUT_MS = 20_000;

export class Machine {
  readonly console: GuestConsole;
  readonly folder: string;
  /** When QEMU was started, in milliseconds of `performance.now()`. */
  readonly startedAt: number;
  readonly #process: ChildProcess;
  readonly #qmp: Socket;
  readonly #messages: EventEmitter;
  readonly #exited: Promise<unknown>;

  private constructor(startedAt: number, folder: string, process: ChildProcess, guest: GuestConsole, qmp: Socket) {
    this.startedAt = startedAt;
    this.folder = folder;
    this.console = guest;
    this.#process = process;
    this.#exited = once(process, 'exit');
    this.#qmp = qmp;
    this.#messages = new EventEmitter();
    createInterface({ input: qmp }).on('line', (line) => {
      const message = JSON.parse(line) as QmpMessage;
      if (message.event !== undefined) this.#messages.emit(`event ${message.event}`, message.data);
      else if (message.return !== undefined || message.error !== undefined) this.#messages.emit('answer', message);
    });
  }

  /** Starts QEMU and waits for nothing but its sockets; the guest then boots. */
  static async start(...extraArgv: string[]): Promise<Machine> {
    const image = await guestImage();
    const folder = await mkdtemp(join(tmpdir(), 'usher-guest-'));
    const socket = (name: string) => `socket,id=${name},path=${join(folder, name)},server=on,wait=off`;
    const startedAt = performance.now();
    const process = spawn(
      'qemu-system-x86_64',
      [
        ...['-accel', 'tcg', '-M', 'q35', '-m', '256', '-nodefaults', '-display', 'none'],
        ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', GUEST_CMDLINE],
        ...['-chardev', socket('console'), '-serial', 'chardev:console'],
        ...['-chardev', socket('qmp'), '-mon', 'chardev=qmp,mode=control'],
        ...['-device', 'qemu-xhci,id=xhci,p2=8,p3=8', '-device', 'pvpanic', ...extraArgv],
      ],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
    const guest = await GuestConsole.connect(join(folder, 'console'));
    const qmp = createConnection(join(folder, 'qmp'));
    const machine = new Machine(startedAt, folder, process, guest, qmp);
    await machine.qmp('qmp_capabilities');
    return machine;
  }

  ready(since = 0): ReturnType<GuestConsole['waitFor']> {
    return this.console.waitFor(/^USHER-GUEST ready /, { timeoutMs: READY_TIMEOUT_MS, since });
  }

  /** Sends one command and gives its answer; one at a time. */
  async qmp(execute: string, args: object = {}): Promise<unknown> {
    this.#qmp.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const [answer] = await withDeadline({ what: `The answer to ${execute}`, timeoutMs: QMP_TIMEOUT_MS }, (signal) =>
      once(this.#messages, 'answer', { signal }),
    );
    const { error, return: value } = answer as QmpMessage;
    if (error !== undefined) throw new Error(`${execute}: ${error.desc}`);
    return value;
  }

  /** Waits for an event that comes after this call, of the device if one is named, and gives its data. */
  event(name: string, device?: string): Promise<Record<string, unknown>> {
    const seen = new Promise<Record<string, unknown>>((resolve) => {
      // A listener that stays, for QEMU sends several of a name at once: one for each part of a device.
      const listen = (data: Record<string, unknown>) => {
        if (device !== undefined && data['device'] !== device) return;
        this.#messages.off(`event ${name}`, listen);
        resolve(data);
      };
      this.#messages.on(`event ${name}`, listen);
    });
    return withDeadline({ what: `The event ${name}`, timeoutMs: QMP_TIMEOUT_MS }, () => seen);
  }

  plug(driver: string, id: string, port: number, more: object = {}): Promise<unknown> {
    return this.qmp('device_add', { driver, id, bus: 'xhci.0', port: String(port), ...more });
  }

  /** Pulls a device out and waits until QEMU has let go of it, so that its id and its image are free. */
  async unplug(id: string): Promise<void> {
    const deleted = this.event('DEVICE_DELETED', id);
    await this.qmp('device_del', { id });
    await deleted;
  }

  async plugStick(image: string, id: string, port: number, serial: string): Promise<void> {
    const file = { driver: 'file', filename: image };
    await this.qmp('blockdev-add', { driver: 'raw', 'node-name': `${id}-disk`, file });
    await this.plug('usb-storage', id, port, { drive: `${id}-disk`, serial });
  }

  async unplugStick(id: string): Promise<void> {
    await this.unplug(id);
    await this.qmp('blockdev-del', { 'node-name': `${id}-disk` });
  }

  /** Waits for QEMU to end by itself. */
  exited(): Promise<unknown> {
    return withDeadline({ what: 'The end of QEMU', timeoutMs: QMP_TIMEOUT_MS }, () => this.#exited);
  }

  async stop(): Promise<void> {
    this.console.close();
    this.#qmp.destroy();
    this.#process.kill('SIGKILL');
    await this.#exited;
    await rm(this.folder, { recursive: true, force: true });
  }
}
