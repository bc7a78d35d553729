/**
 * The unix socket of a program that a VM's config names (`notify = unix,PATH`): it is told what becomes of the VM, a line
 * each, without having asked. It may come late, hang or go; nobody here waits for it.
 */
import { connect, type Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { backoffMs } from '../lib/deadline.ts';
import { messageOf } from '../lib/fault.ts';
import type { Log } from '../lib/log.ts';
import type { VmUuid } from '../model/ids.ts';
import { formatNotificationLine, HUP, type Notification, PING } from './notifications.ts';

export interface NotifySocketOptions {
  readonly path: string;
  readonly uuid: VmUuid;
  readonly clock: Clock;
  readonly log: Log;
}

/** A listener that lets so much pile up is not listening. */
const MAX_UNREAD_BYTES = 256 * 1024;
/** While nobody listens so many are kept, the newest; of what was long ago nobody wants to hear. */
const MAX_KEPT = 64;
const RETRY = { firstMs: 250, capMs: 10_000, jitter: 0.3 } as const;
/** A listener that stays so long is there; one that hangs up sooner is tried later and later. */
const STAYS_MS = 5_000;

/**
 * INVARIANTS: there is a connection or a timer for the next one, never both, and neither after `end`; nothing here throws;
 * of what is told while nobody listens the newest is told when somebody does, after a ping and in its order; what was
 * written to a listener that went is not told again.
 */
export class NotifySocket {
  readonly path: string;
  readonly #options: NotifySocketOptions;
  #kept: Notification[] = [];
  #socket: Socket | undefined;
  #isConnected = false;
  #isOver = false;
  #failures = 0;
  #cancelRetry: () => void = () => undefined;

  /** Begins to connect. */
  constructor(options: NotifySocketOptions) {
    this.path = options.path;
    this.#options = options;
    this.#connect();
  }

  /** Tells the listener, now or when it is there. */
  tell(notification: Notification): void {
    if (this.#isOver) return;
    if (this.#isConnected) this.#write(notification);
    else this.#kept = [...this.#kept, notification].slice(-MAX_KEPT);
  }

  /** Tells that the monitor ends, if anybody listens, and hangs up. */
  end(): void {
    if (this.#isOver) return;
    if (this.#isConnected) this.#write(HUP);
    this.#isOver = true;
    this.#cancelRetry();
    // What the kernel took is read by whoever reads; the rest of a listener that does not is lost.
    if (this.#isConnected) this.#socket?.end(() => this.#socket?.destroy());
    else this.#socket?.destroy();
  }

  #connect(): void {
    const { path, uuid, clock, log } = this.#options;
    const socket = connect({ path });
    this.#socket = socket;
    let why = 'it hung up';
    let cancelStays = () => {};
    socket.on('connect', () => {
      if (this.#failures > 0) log.info('a listener for notifications is there', { uuid, path });
      cancelStays = clock.after(STAYS_MS, () => {
        this.#failures = 0;
      });
      this.#isConnected = true;
      this.#write(PING);
      for (const notification of this.#kept.splice(0)) this.#write(notification);
    });
    socket.on('error', (error) => {
      why = messageOf(error);
    });
    socket.on('close', () => {
      cancelStays();
      this.#isConnected = false;
      this.#socket = undefined;
      if (this.#isOver) return;
      this.#failures++;
      if (this.#failures === 1) log.warn('nobody listens for notifications; it is tried again', { uuid, path, why });
      this.#cancelRetry = clock.after(backoffMs(this.#failures, RETRY), () => this.#connect());
    });
    socket.resume(); // It has nothing to say to us.
  }

  #write(notification: Notification): void {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed) return;
    if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
    else socket.write(formatNotificationLine(this.#options.uuid, notification));
  }
}
