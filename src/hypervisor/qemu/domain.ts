/**
 * One running QEMU as the driver holds it: its process, a standing QMP connection, and what is observed through them.
 * It acts on nothing; usb.ts, save.ts, lifecycle.ts and driver.ts do.
 */
import { existsSync } from 'node:fs';
import type { Clock } from '../../lib/clock.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Attachment } from '../../model/usb.ts';
import type { QmpEvent, QmpRunState, QmpShutdownCause, QomProperty } from '../../wire/qmp/commands.ts';
import { isPeerGone, isQmpError } from '../../wire/qmp/error.ts';
import { QmpLink } from '../../wire/qmp/link.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { Domain, DriverHint, Waiting } from '../driver.ts';
import { LOST_GENERATION } from '../host-device.ts';
import { controllersOf } from './controllers.ts';
import { readDeath } from './death.ts';
import { parseDeviceQomId } from './ids.ts';
import type { DomainPaths } from './paths.ts';
import { isAlive, isGoneWithin, type ProcessIdentity } from './process.ts';

export interface QemuDomainOptions {
  readonly uuid: VmUuid;
  readonly name: string;
  readonly paths: DomainPaths;
  readonly process: ProcessIdentity;
  /** Brings a domain that was found, not started, in order; runs at the first connection, before anything else. */
  readonly adopt?: (session: QmpSession, domain: QemuDomain) => Promise<void>;
  readonly onHint: (hint: DriverHint) => void;
  readonly clock: Clock;
  readonly log: Log;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** QEMU answers within a millisecond, or it hangs. */
const OBSERVE_TIMEOUT_MS = 5_000;
/** Between the end of a killed QEMU's socket and the end of its process: it has memory to give back. */
const DYING_MS = 1_000;
const PERIPHERALS = '/machine/peripheral';

const POWER_EVENTS: ReadonlySet<string> = new Set<QmpEvent['name']>([
  'SHUTDOWN',
  'RESET',
  'STOP',
  'RESUME',
  'SUSPEND',
  'WAKEUP',
  'WATCHDOG',
  'GUEST_PANICKED',
]);

/**
 * INVARIANTS:
 * - Nobody gets a session before it is adopted; a failed adoption is tried again by the next who asks.
 * - Everything told by `observe` was asked from QEMU in this call, but for what this process itself is doing (`saving`)
 *   and the cause of the last SHUTDOWN event, which QEMU tells once.
 */
export class QemuDomain {
  readonly uuid: VmUuid;
  readonly name: string;
  readonly paths: DomainPaths;
  readonly process: ProcessIdentity;
  /** Set while this process saves it. */
  isSaving = false;
  /** Set when its whole state is in a file and it only has to go. */
  savedTo: string | undefined;
  /** Ends what reset.ts still listens for. */
  endReset: () => void = () => undefined;
  readonly #options: QemuDomainOptions;
  readonly #link: QmpLink;
  #shutdownCause: QmpShutdownCause | undefined;
  #isAdopted: boolean;
  #adopting: Promise<void> | undefined;
  #up = Promise.withResolvers<QmpSession>();
  #lastSeen: Domain;
  /** Counts what may have changed the domain: events, and steps of ours. */
  #changes = 0;
  /** The count when `#lastSeen` was asked for. */
  #seenAt = -1;

  constructor(options: QemuDomainOptions) {
    const { uuid, name, paths, process, onHint, clock } = options;
    this.uuid = uuid;
    this.name = name;
    this.paths = paths;
    this.process = process;
    this.#options = options;
    this.#isAdopted = options.adopt === undefined;
    this.#lastSeen = { uuid, name, handle: process.pid, run: 'running', controllers: [], attachments: [] };
    this.#up.promise.catch(() => undefined);
    this.#link = new QmpLink({
      path: paths.qmpSocket,
      clock,
      backoff: { firstMs: 10, capMs: 2_000, jitter: 0.5 },
      up: (session) => {
        this.#up.resolve(session);
        for (const about of ['power', 'usb'] as const) onHint({ about, uuid });
      },
      down: (_fault, session) => {
        this.touch();
        if (session === undefined) return;
        this.#up = Promise.withResolvers();
        this.#up.promise.catch(() => undefined);
        onHint({ about: 'power', uuid });
      },
      gone: (fault) => {
        this.#up.reject(fault);
        onHint({ about: 'power', uuid });
      },
      event: (event) => this.#take(event),
      isGone: (fault) => !isAlive(process) && (isPeerGone(fault) || isFault(fault, 'wire.closed')),
    });
  }

  get isAlive(): boolean {
    return isAlive(this.process);
  }

  /**
   * Gives the open session, waiting for it if need be. @throws Fault `vm.no_domain` when the process is gone,
   * `hypervisor.lost` when QEMU does not answer, `aborted`
   */
  async session(waiting: Waiting & { readonly timeoutMs?: number } = {}): Promise<QmpSession> {
    const { signal, timeoutMs = CONNECT_TIMEOUT_MS } = waiting;
    const what = `The connection to QEMU of VM ${this.name}`;
    if (this.#link.session === undefined && !existsSync(this.paths.folder)) throw this.#outOfReach();
    try {
      const session =
        this.#link.session ??
        (await withDeadline({ what, timeoutMs, signal, clock: this.#options.clock }, () => this.#up.promise));
      await this.#adopt(session);
      return session;
    } catch (error) {
      throw await this.translate(error);
    }
  }

  /** Observes the domain. @throws as `session` does */
  async observe(waiting: Waiting = {}): Promise<Domain> {
    const session = await this.session(waiting);
    const changes = this.#changes;
    const asking = { signal: waiting.signal, timeoutMs: OBSERVE_TIMEOUT_MS };
    try {
      const [{ status }, children] = await Promise.all([
        session.execute('query-status', {}, asking),
        session.execute('qom-list', { path: PERIPHERALS }, asking),
      ]);
      const { savedTo } = this;
      const death =
        savedTo !== undefined
          ? { reason: 'suspend' as const, detail: `its state is saved in ${savedTo}`, savedTo }
          : await readDeath(status, this.paths.traceFile, this.#shutdownCause);
      const domain: Domain = {
        uuid: this.uuid,
        name: this.name,
        handle: this.process.pid,
        run: death !== undefined ? 'dead' : this.isSaving ? 'saving' : isRunning(status) ? 'running' : 'paused',
        controllers: controllersOf(children.map(({ name }) => name)),
        attachments: await this.#attachments(session, children, asking),
        ...(death === undefined ? {} : { death }),
      };
      this.#lastSeen = domain;
      this.#seenAt = changes;
      return domain;
    } catch (error) {
      throw await this.translate(error);
    }
  }

  /**
   * Gives what was seen last if nothing has happened since, else observes. Nobody else speaks to this QEMU, so what is
   * not known of would be its loss of a host's device only; a question costs a turn of its main loop, some milliseconds
   * when its guest is busy. @throws as `observe` does
   */
  async current(waiting: Waiting = {}): Promise<Domain> {
    const isCurrent = this.#seenAt === this.#changes && !this.isSaving && this.#link.session !== undefined;
    return isCurrent ? this.#lastSeen : await this.observe(waiting);
  }

  /** Notes that a step of ours changes the domain: what was seen before is no longer so. */
  touch(): void {
    this.#changes++;
  }

  /** What was seen last, for when QEMU does not answer though its process lives; no devices if it never has. */
  get lastSeen(): Domain {
    return this.#lastSeen;
  }

  /**
   * Turns what a session throws into the Fault that a user may see; Faults that are one already stay. A QEMU that hung up
   * is given a moment: its socket closes a little before its process is gone.
   */
  async translate(error: unknown): Promise<Fault> {
    const vm = this.name;
    if (isQmpError(error)) return new Fault('hypervisor.failed', { what: error.desc }, { cause: error });
    if (!isFault(error)) throw error;
    if (!isFault(error, 'wire.closed', 'wire.broken', 'timeout')) return error;
    const graceMs = error.code === 'timeout' ? 0 : DYING_MS;
    if (await isGoneWithin(this.process, graceMs, this.#options.clock)) {
      return new Fault('vm.no_domain', { vm }, { cause: error });
    }
    return this.#lost(reasonOf(error), error);
  }

  /** Lets go of the connection; QEMU goes on. */
  close(): void {
    this.endReset();
    this.#link.stop();
    this.#up.reject(new Fault('aborted', { what: `The connection to QEMU of VM ${this.name}` }));
  }

  #lost(what: string, cause?: unknown): Fault {
    const hint = `Its process is ${this.process.pid}; "usher vm destroy" ends it even when it does not answer.`;
    return new Fault('hypervisor.lost', { vm: this.name, what }, { cause, hint });
  }

  /** Without its sockets it can never be connected to again. */
  #outOfReach(): Fault {
    if (!this.isAlive) return new Fault('vm.no_domain', { vm: this.name });
    return this.#lost(`QEMU runs, but ${this.paths.folder} with its sockets is gone`);
  }

  async #adopt(session: QmpSession): Promise<void> {
    if (this.#isAdopted) return;
    this.#adopting ??= (this.#options.adopt?.(session, this) ?? Promise.resolve())
      .then(() => {
        this.#isAdopted = true;
      })
      .finally(() => {
        this.#adopting = undefined;
      });
    await this.#adopting;
  }

  async #attachments(
    session: QmpSession,
    children: readonly QomProperty[],
    waiting: Waiting,
  ): Promise<readonly Attachment[]> {
    const devices = children.flatMap(({ name, type }) => {
      const attachment = parseDeviceQomId(this.uuid, name);
      return attachment === undefined ? [] : [{ attachment, name, type }];
    });
    const attachments = await Promise.all(
      devices.map(async ({ attachment, name, type }) => {
        if (type !== 'child<usb-host>') return attachment;
        const isAttached = await isHostDeviceAttached(session, name, waiting);
        return isAttached ? attachment : { ...attachment, generation: LOST_GENERATION };
      }),
    );
    return attachments.sort((a, b) => a.controller - b.controller || a.port - b.port);
  }

  #take(event: QmpEvent): void {
    this.touch();
    const { onHint } = this.#options;
    if (event.name === 'SHUTDOWN') this.#shutdownCause = event.data.reason;
    if (event.name === 'RESET') this.#shutdownCause = undefined;
    if (POWER_EVENTS.has(event.name)) onHint({ about: 'power', uuid: this.uuid });
    if (event.name === 'DEVICE_DELETED' && event.data.device !== undefined) onHint({ about: 'usb', uuid: this.uuid });
  }
}

/**
 * Tells whether QEMU still has the host's device behind a `usb-host`. It may lose one that is plugged all the same (its
 * reset failed), and keeps the object without ever opening the device again. That a device was unplugged QEMU may not
 * notice while it is idle: who wants to know that looks into sysfs. An object that vanishes meanwhile has no device.
 */
async function isHostDeviceAttached(session: QmpSession, id: string, waiting: Waiting): Promise<boolean> {
  try {
    return (await session.execute('qom-get', { path: `${PERIPHERALS}/${id}`, property: 'attached' }, waiting)) === true;
  } catch (error) {
    if (isQmpError(error)) return false;
    throw error;
  }
}

/** `suspended` is a guest asleep (ACPI S3), which no `cont` is wanted for. */
function isRunning(status: QmpRunState): boolean {
  return status === 'running' || status === 'suspended' || status === 'finish-migrate';
}
