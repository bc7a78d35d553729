/**
 * The device models of all domains: which of them live, and what becomes of a domain whose device model has died. One is
 * revived as often as it makes sense; why a domain has no USB meanwhile is said in words.
 */
import { type Clock, sleep } from '../../lib/clock.ts';
import { asFault, Fault, isFault, reasonOf } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { Waiting } from '../driver.ts';
import type { ModelProcesses } from './device-model.ts';
import { ModelHold } from './device-model-hold.ts';
import { asDomain, bury, type RevivalContext, startAgain } from './device-model-revival.ts';
import type { DomainNodes } from './domain-nodes.ts';
import { formatModelNote, modelNotePath, modelPath, modelPidPath } from './nodes.ts';
import { told } from './usb-ports.ts';

export interface DeviceModelsParts extends Omit<RevivalContext, 'isAlive'> {
  readonly xenstore: XenstoreClient;
  readonly processes: ModelProcesses;
  readonly clock: Clock;
  readonly log: Log;
  ownQmp(uuid: VmUuid): string;
  libxlQmp(domid: number): string;
  /** As `UsbUpkeepParts.cares`: a domain of others is neither noted nor revived. */
  cares(uuid: VmUuid | undefined): boolean;
  /** Domids of domains that live, and have not shut down. */
  living(): Promise<ReadonlySet<number>>;
  look(domid: number): Promise<DomainNodes | undefined>;
  /** Gives the domain one PV controller more. */
  addController(nodes: DomainNodes, waiting: Waiting): Promise<void>;
  /** Something is different about the domain's USB. */
  onChange(domid: number): void;
}

/** A domain whose device model has died. */
interface Mourning {
  readonly uuid: VmUuid;
  /** Half a sentence for people; absent while the domain is being ended anyway. */
  trouble: string | undefined;
  work: Promise<void>;
  /** When the next try may begin (monotonic ms); never, while this is missing. */
  retryAt?: number;
}

/** What ends the device model may be ending the domain: libxl's own steps are let go first. */
const GRACE_MS = 500;
const RETRY_MS = 30_000;
/** One that dies again and again takes the devices away from dom0 each time. */
const MAX_REVIVALS = 5;
const REVIVALS_MS = 3_600_000;

const MISSING = 'its device model is not running';
const GONE = 'its device model has died';
const HOPELESS = `${GONE}, and a guest with emulated devices cannot go on without: destroy the VM and start it again`;

/**
 * INVARIANTS:
 * - A domain has a hold exactly while its device model is known to live; who asks gets it proved. After `close` none has.
 * - At most one revival of a domain is under way. It begins only when the domain lives and libxl is not ending it, and
 *   each of its steps can be done again by the next daemon: what is left to do is seen in xenstore and /proc.
 */
export class DeviceModels {
  readonly #parts: DeviceModelsParts;
  readonly #holds = new Map<number, ModelHold>();
  readonly #mourned = new Map<number, Mourning>();
  /** When revivals of a domain began (monotonic ms). */
  readonly #revivals = new Map<VmUuid, number[]>();
  readonly #closing = new AbortController();

  constructor(parts: DeviceModelsParts) {
    this.#parts = parts;
  }

  /** Gives the device model of a domain, if it lives; otherwise what is to be done about that begins. */
  holdOf(nodes: DomainNodes): ModelHold | undefined {
    const { domid, uuid, modelPid } = nodes;
    if (uuid === undefined || modelPid === undefined || this.#closing.signal.aborted) return undefined;
    const known = this.#holds.get(domid);
    if (known?.uuid === uuid && known.isAlive) return known;
    this.#drop(domid);
    const { processes, clock } = this.#parts;
    const process = processes.find(domid, modelPid);
    if (process === undefined) {
      this.#mourn(nodes);
      return undefined;
    }
    const hold = new ModelHold({
      domid,
      uuid,
      process,
      processes,
      ownQmp: this.#parts.ownQmp(uuid),
      libxlQmp: this.#parts.libxlQmp(domid),
      clock,
      onEnd: () => this.#ended(domid, hold),
    });
    this.#holds.set(domid, hold);
    void this.#takeNote(nodes, hold);
    if (isAllHusks(nodes)) this.#mourn(nodes);
    return hold;
  }

  /** Says why a domain has no USB, as half a sentence; `undefined` when nothing is wrong with its device model. */
  troubleOf({ domid, uuid }: DomainNodes): string | undefined {
    const mourning = this.#mourned.get(domid);
    return mourning?.uuid === uuid ? mourning?.trouble : undefined;
  }

  /** Forgets a domain that has ended. Gives its device model, which may be about to end. */
  forget(domid: number): ModelHold | undefined {
    const hold = this.#holds.get(domid);
    this.#drop(domid);
    this.#mourned.delete(domid);
    return hold;
  }

  /** Lets go of all of them, when what is under way has ended. */
  async close(): Promise<void> {
    this.#closing.abort(new Fault('aborted', { what: 'The revival of a device model' }));
    for (const domid of [...this.#holds.keys()]) this.#drop(domid);
    await Promise.all([...this.#mourned.values()].map(({ work }) => work));
  }

  #drop(domid: number): void {
    this.#holds.get(domid)?.close();
    this.#holds.delete(domid);
  }

  #ended(domid: number, hold: ModelHold): void {
    if (this.#holds.get(domid) === hold) this.#holds.delete(domid);
    this.#parts.log.warn('a device model has ended', { domid, uuid: hold.uuid, pid: hold.process.pid });
    this.#parts.onChange(domid);
    // Who looks next finds it dead; but perhaps nobody does.
    this.#parts.look(domid).then(
      (nodes) => nodes && this.holdOf(nodes),
      () => undefined,
    );
  }

  /** A number that is not the process's own is corrected, and how it was started is noted for the day that it dies. */
  async #takeNote({ domid, modelPid, modelNote, untrustedName }: DomainNodes, hold: ModelHold): Promise<void> {
    const { process, uuid } = hold;
    const { xenstore, processes, log, cares } = this.#parts;
    if (!cares(uuid)) return;
    try {
      const origin = processes.originOf(process);
      const text = origin && formatModelNote(origin);
      const isNoted = text === undefined || (modelNote !== undefined && formatModelNote(modelNote) === text);
      if (modelPid === process.pid && isNoted) return;
      await asDomain(xenstore, { domid, uuid, name: untrustedName }, async (transaction) => {
        if (modelPid !== process.pid) await transaction.write(modelPidPath(domid), String(process.pid));
        if (!isNoted) await transaction.write(modelNotePath(domid), text);
      });
    } catch (error) {
      if (isFault(error, 'vm.no_domain')) return;
      log.warn('how a device model was started could not be noted', { domid, error });
    }
  }

  #mourn(nodes: DomainNodes): void {
    const { domid, uuid } = nodes;
    const before = this.#mourned.get(domid);
    const now = this.#parts.clock.monotonic();
    const isMourned = before?.uuid === uuid && (before?.retryAt ?? Number.POSITIVE_INFINITY) > now;
    if (uuid === undefined || isMourned || this.#closing.signal.aborted || !this.#parts.cares(uuid)) return;
    const mourning: Mourning = { uuid, trouble: MISSING, work: Promise.resolve() };
    this.#mourned.set(domid, mourning);
    mourning.work = this.#revive(nodes, mourning)
      .catch(async (error: unknown) => {
        const isOver = this.#closing.signal.aborted || (await this.#parts.look(domid))?.uuid !== uuid;
        if (isOver) return;
        mourning.retryAt = this.#parts.clock.monotonic() + RETRY_MS;
        mourning.trouble = `${GONE}, and no other could be started: ${reasonOf(asFault(error), 'hypervisor.failed')}`;
        this.#parts.log.error('a device model could not be revived', { domid, uuid, error });
      })
      .finally(() => this.#parts.onChange(domid));
  }

  /** What is done is seen, not remembered: a daemon that died on the way is followed by one that goes on. */
  async #revive({ domid, uuid }: DomainNodes, mourning: Mourning): Promise<void> {
    const { xenstore, clock, processes, living, look, addController } = this.#parts;
    const { signal } = this.#closing;
    await sleep(clock, GRACE_MS, signal);
    const [nodes, isServed] = await Promise.all([look(domid), told(xenstore.exists(modelPath(domid)))]);
    if (nodes === undefined || nodes.uuid !== uuid || uuid === undefined) return;
    if (!isServed || !(await living()).has(domid)) {
      mourning.trouble = undefined;
      return;
    }
    const context = { ...this.#parts, isAlive: (pid: number) => processes.find(domid, pid) !== undefined };
    const isDead = processes.find(domid, nodes.modelPid) === undefined;
    // While libxl starts one, its number is noted before the process is what it will be.
    if (!isDead && !isAllHusks(nodes)) return this.#endMourning(nodes);
    if (isDead) await bury(context, nodes);
    if (nodes.kind !== 'pv' && nodes.kind !== 'pvh') {
      mourning.trouble = HOPELESS;
      return;
    }
    if (isDead) {
      mourning.trouble = `${GONE}, and another one is being started`;
      this.#parts.onChange(domid);
      this.#count(uuid);
      if (nodes.modelNote === undefined)
        throw new Fault('hypervisor.failed', { what: 'how it was started is unknown' });
      const domain = { domid, uuid, name: nodes.untrustedName };
      await startAgain(context, domain, nodes.modelNote, signal);
    }
    const after = await look(domid);
    if (after !== undefined && isAllHusks(after)) await addController(after, { signal });
    const last = await look(domid);
    if (last !== undefined) this.#endMourning(last);
  }

  #endMourning(nodes: DomainNodes): void {
    this.#mourned.delete(nodes.domid);
    this.holdOf(nodes);
  }

  /** @throws Fault `hypervisor.failed` when it has been revived too often */
  #count(uuid: VmUuid): void {
    const now = this.#parts.clock.monotonic();
    const recent = (this.#revivals.get(uuid) ?? []).filter((at) => now - at < REVIVALS_MS);
    if (recent.length >= MAX_REVIVALS) {
      throw new Fault('hypervisor.failed', { what: `it has died ${recent.length + 1} times within an hour` });
    }
    this.#revivals.set(uuid, [...recent, now]);
  }
}

/** Tells whether the domain has had PV controllers, and all of them are dead. */
function isAllHusks({ controllers }: DomainNodes): boolean {
  return controllers.length > 0 && controllers.every(({ isHusk }) => isHusk);
}
