/**
 * A device model that lives: notices its end at once, and lends sessions to its QMP. Domains of ours have a socket of our
 * own, kept open; the socket that libxl made for itself serves one client, and is only borrowed for the moment.
 */
import { existsSync } from 'node:fs';
import type { Clock } from '../../lib/clock.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import { isPeerGone } from '../../wire/qmp/error.ts';
import { QmpLink } from '../../wire/qmp/link.ts';
import { connectQmp, type QmpSession } from '../../wire/qmp/session.ts';
import type { Waiting } from '../driver.ts';
import type { ModelProcess, ModelProcesses } from './device-model.ts';

export interface ModelHoldOptions {
  readonly domid: number;
  readonly uuid: VmUuid;
  readonly process: ModelProcess;
  readonly processes: ModelProcesses;
  /** Our own socket; whether there is one is seen. */
  readonly ownQmp: string;
  /** The socket that libxl made for itself. */
  readonly libxlQmp: string;
  readonly clock: Clock;
  /** Told once, when the process is gone. */
  onEnd(): void;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** Without a socket of our own its end is seen by looking. */
const LOOK_MS = 2_000;
/** A socket closes a little before its process is gone. */
const DYING_LOOK_MS = 10;
const DYING_LOOKS = 100;

/** INVARIANTS: `onEnd` is called once at most, and not after `close`. */
export class ModelHold {
  readonly domid: number;
  readonly uuid: VmUuid;
  readonly process: ModelProcess;
  readonly #options: ModelHoldOptions;
  #link: QmpLink | undefined;
  #up = Promise.withResolvers<QmpSession>();
  #cancelLook: () => void = () => undefined;
  #isOver = false;

  constructor(options: ModelHoldOptions) {
    this.domid = options.domid;
    this.uuid = options.uuid;
    this.process = options.process;
    this.#options = options;
    this.#up.promise.catch(() => undefined);
    this.#look(LOOK_MS, 0);
    this.#connect();
  }

  get isAlive(): boolean {
    return this.#options.processes.isAlive(this.process);
  }

  /** Whether it has a QMP socket that is ours alone. */
  get isOurs(): boolean {
    this.#connect();
    return this.#link !== undefined;
  }

  /** Tells whether it has the node of a device open: that it has taken the device. */
  holds(node: string): boolean {
    return this.#options.processes.holds(this.process, node);
  }

  /** Lends a session. @throws what `work` throws; Fault `timeout`, `wire.closed`, `wire.broken`, `aborted` */
  async withSession<T>(work: (session: QmpSession) => Promise<T>, waiting: Waiting = {}): Promise<T> {
    const { signal } = waiting;
    this.#connect();
    if (this.#link !== undefined) {
      const limits = { what: `The connection to ${this.#options.ownQmp}`, timeoutMs: CONNECT_TIMEOUT_MS, signal };
      const clock = this.#options.clock;
      const session = this.#link.session ?? (await withDeadline({ ...limits, clock }, () => this.#up.promise));
      return work(session);
    }
    // libxl's own commands wait for each other by a lock, and for us by the socket's queue: the less the better.
    const session = await connectQmp(this.#options.libxlQmp, {
      signal,
      openTimeoutMs: CONNECT_TIMEOUT_MS,
      clock: this.#options.clock,
    });
    try {
      return await work(session);
    } finally {
      session.close();
    }
  }

  /** Lets go of it; the process goes on. */
  close(): void {
    this.#isOver = true;
    this.#cancelLook();
    this.#link?.stop();
    this.#up.reject(new Fault('wire.closed', { peer: this.#options.ownQmp, what: 'the device model is gone' }));
  }

  /** A device model makes its sockets a moment after libxl has noted its number. */
  #connect(): void {
    const { ownQmp, processes, process, clock } = this.#options;
    if (this.#link !== undefined || this.#isOver || !existsSync(ownQmp)) return;
    this.#link = new QmpLink({
      path: ownQmp,
      clock,
      backoff: { firstMs: 10, capMs: 2_000, jitter: 0.5 },
      up: (session) => this.#up.resolve(session),
      down: (_fault, session) => {
        if (session === undefined) return;
        this.#up = Promise.withResolvers();
        this.#up.promise.catch(() => undefined);
        this.#look(0, DYING_LOOKS);
      },
      gone: (fault) => this.#up.reject(fault),
      isGone: (fault) => !processes.isAlive(process) && (isPeerGone(fault) || isFault(fault, 'wire.closed')),
    });
  }

  #look(afterMs: number, quickLooks: number): void {
    this.#cancelLook();
    if (this.#isOver) return;
    this.#cancelLook = this.#options.clock.after(afterMs, () => {
      if (!this.isAlive) {
        this.close();
        this.#options.onEnd();
        return;
      }
      this.#connect();
      if (quickLooks > 0) this.#look(DYING_LOOK_MS, quickLooks - 1);
      else this.#look(LOOK_MS, 0);
    });
  }
}
