/** What a connection is told without asking, from its `subscribe` to its end. */
import type { Socket } from 'node:net';
import { Fault } from '../lib/fault.ts';
import type { VmUuid } from '../model/ids.ts';
import { HUP, type Notification, PING } from './notifications.ts';
import type { Caller } from './session-options.ts';

/** A subscriber that lets so much pile up is not listening. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/**
 * INVARIANTS: nothing is written before the answer to `subscribe`, and nothing after `close`; what comes in between waits
 * for the answer.
 */
export class Subscription implements Caller {
  readonly #socket: Socket;
  readonly #uuid: VmUuid;
  readonly #format: (uuid: VmUuid, notification: Notification) => string;
  readonly #gone = new AbortController();
  #waiting: Notification[] = [];
  isOpen = false;

  constructor(socket: Socket, uuid: VmUuid, format: (uuid: VmUuid, notification: Notification) => string) {
    this.#socket = socket;
    this.#uuid = uuid;
    this.#format = format;
  }

  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  readonly notify = (notification: Notification): void => {
    if (this.#gone.signal.aborted) return;
    if (!this.isOpen) this.#waiting.push(notification);
    else if (this.#socket.writableLength > MAX_UNREAD_BYTES) this.#socket.destroy();
    else this.#socket.write(this.#format(this.#uuid, notification));
  };

  /** Gives the answer, and then what there is to tell. */
  open(answer: string): void {
    if (this.#gone.signal.aborted) return;
    this.#socket.write(answer);
    const isFirst = !this.isOpen;
    this.isOpen = true;
    if (isFirst) this.notify(PING);
    for (const notification of this.#waiting.splice(0)) this.notify(notification);
  }

  /** Tells that the monitor ends, if anybody listens. */
  end(): void {
    if (this.isOpen) this.notify(HUP);
    this.close();
  }

  /** The client has gone, or has been told all. */
  close(): void {
    this.isOpen = false;
    this.#waiting = [];
    if (!this.#gone.signal.aborted) this.#gone.abort(new Fault('aborted', { what: 'The subscription' }));
  }
}
