/**
 * Who lives on this host: uuid, domid, name, run state and shutdown reason of every domain but dom0, as `xl list -v` tells
 * them. Says when that has changed. It acts on nothing.
 */
import type { Clock } from '../../lib/clock.ts';
import { backoffMs } from '../../lib/deadline.ts';
import { Fault } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import { printable } from '../../lib/text.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { Watch } from '../../wire/xenstore/watches.ts';
import type { Waiting } from '../driver.ts';
import type { Xl } from './xl.ts';
import { type ListedDomain, parseXlList, SHUTDOWN_REASON, XlListError } from './xl-list.ts';

/** A domain that is there, dead ones too until they are destroyed. */
export interface LivingDomain {
  readonly domid: number;
  readonly uuid: VmUuid;
  readonly name: string;
  readonly run: 'running' | 'paused' | 'shutdown';
  /** With `shutdown`: one of `SHUTDOWN_REASON`, or another number. */
  readonly reason?: number;
  /** It has spent processor time: it is no domain that is still being built. */
  readonly hasRun: boolean;
}

export interface RosterParts {
  readonly xl: Xl;
  readonly store: Pick<XenstoreClient, 'read' | 'watch' | 'onResync'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Told of each domain that came, went or changed since the last look. */
  readonly onChange: (before: LivingDomain | undefined, now: LivingDomain | undefined) => void;
}

interface Sight {
  readonly domains: readonly LivingDomain[];
  /** Domains that a migration left half received. */
  readonly incoming: readonly LivingDomain[];
  /** The count of changes when it began. */
  readonly changes: number;
  /** Monotonic. */
  readonly at: number;
}

const WHAT = 'The list of domains';
const TIMEOUT_MS = 20_000;
/** After a release a death has to be answered; a domain that is introduced is not built yet, by us or by others. */
const LOOK_AFTER_MS = { '@releaseDomain': 0, '@introduceDomain': 1_000 } as const;
/** No watch tells of a pause by other hands. What is older is still given at once, but looked at again. */
const FRESH_MS = 3_000;
const RETRY = { firstMs: 500, capMs: 10_000, jitter: 0.3 } as const;
/** What a migration that is being received is called until it is whole (xl_migrate.c). */
const INCOMING = /--incoming$/;
const NO_UUID = '00000000-0000-0000-0000-000000000000';

/**
 * INVARIANTS:
 * - A sight counts until `@introduceDomain`, `@releaseDomain` or a verb of ours (`touch`) may have changed things: then
 *   the next answer comes from a look that began afterwards. Pauses by other hands are seen by the look after the next
 *   question, which `FRESH_MS` bounds.
 * - Looks are shared: questions of one moment make one `xl list`. An older look never takes the place of a newer one.
 * - After each change that xenstore tells of, it looks by itself, until that works, and tells what is different.
 * - No watch tells that a guest which lay suspended goes on, so one that does is looked at, and told of, again and again,
 *   and is never told from memory.
 */
export class Roster {
  readonly #parts: RosterParts;
  readonly #watches: Watch[] = [];
  #forgetResync = () => {};
  #changes = 0;
  #seen: Sight | undefined;
  #looking: { readonly changes: number; readonly sight: Promise<Sight> } | undefined;
  #failures = 0;
  #cancelLook = () => {};
  #cancelFollowUp = () => {};
  #isClosed = false;

  private constructor(parts: RosterParts) {
    this.#parts = parts;
  }

  /** Begins to watch. @throws as requests to xenstore do */
  static async open(parts: RosterParts): Promise<Roster> {
    const roster = new Roster(parts);
    roster.#forgetResync = parts.store.onResync(() => roster.#note(0));
    try {
      for (const [path, afterMs] of Object.entries(LOOK_AFTER_MS)) {
        roster.#watches.push(await parts.store.watch(path, () => roster.#note(afterMs)));
      }
    } catch (error) {
      roster.close();
      throw error;
    }
    return roster;
  }

  /** Gives all domains, as they are now or were within the last seconds. @throws Fault of `Xl.run` */
  async all(waiting: Waiting = {}): Promise<readonly LivingDomain[]> {
    return (await this.#sight(FRESH_MS, waiting)).domains;
  }

  /** The same, from a look that begins now. @throws Fault of `Xl.run` */
  async allNow(waiting: Waiting = {}): Promise<readonly LivingDomain[]> {
    this.touch();
    return (await this.#sight(0, waiting)).domains;
  }

  /**
   * Gives the domain of a uuid. Costs nothing while nothing has changed. @throws Fault `hypervisor.lost` when there are
   * several; of `Xl.run`
   */
  async find(uuid: VmUuid, waiting: Waiting = {}): Promise<LivingDomain | undefined> {
    const sight = await this.#sight(Number.POSITIVE_INFINITY, waiting);
    const seen = only(sight.domains, uuid);
    // It may go on by now, and no watch has told: whether a guest lies suspended is always asked anew.
    if (seen !== undefined && isSuspended(seen)) return await this.findNow(uuid, waiting);
    if (this.#parts.clock.monotonic() - sight.at > FRESH_MS) this.#lookSoon(0);
    return seen;
  }

  /** The same, from a look that begins now. @throws as `find` does */
  async findNow(uuid: VmUuid, waiting: Waiting = {}): Promise<LivingDomain | undefined> {
    return only(await this.allNow(waiting), uuid);
  }

  /** Gives all that there is of a uuid now, half-received domains too: what has to go when nothing may be left. */
  async remainsOf(uuid: VmUuid, waiting: Waiting = {}): Promise<readonly LivingDomain[]> {
    this.touch();
    const { domains, incoming } = await this.#sight(0, waiting);
    return [...domains, ...incoming].filter((domain) => domain.uuid === uuid);
  }

  /**
   * Proves that the domid is still that domain's, right before something is done to it. Numbers are used again, and a node
   * can be lost; the hypervisor's own list has the last word. @throws Fault `vm.no_domain`; as `find` does
   */
  async prove(
    { domid, uuid, name }: Pick<LivingDomain, 'domid' | 'uuid' | 'name'>,
    waiting: Waiting = {},
  ): Promise<void> {
    const node = await this.#parts.store.read(`/local/domain/${domid}/vm`, waiting);
    if (node === `/vm/${uuid}`) return;
    const now = await this.findNow(uuid, waiting);
    if (now?.domid !== domid) throw new Fault('vm.no_domain', { vm: name });
  }

  /** Notes that a verb of ours changes a domain: what was seen is no longer so. */
  touch(): void {
    this.#changes++;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelLook();
    this.#cancelFollowUp();
    this.#forgetResync();
    for (const watch of this.#watches) watch.close();
  }

  #note(lookAfterMs: number): void {
    this.touch();
    // Before the first question nobody has been told anything that could have changed.
    if (this.#seen !== undefined) this.#lookSoon(lookAfterMs);
  }

  async #sight(maxAgeMs: number, waiting: Waiting): Promise<Sight> {
    const seen = this.#seen;
    const isCurrent = seen !== undefined && seen.changes === this.#changes;
    if (isCurrent && this.#parts.clock.monotonic() - seen.at <= maxAgeMs) return seen;
    return await given(this.#look(), waiting);
  }

  /** Looks, or joins a look that began after the last change. */
  #look(): Promise<Sight> {
    const changes = this.#changes;
    if (this.#looking?.changes === changes) return this.#looking.sight;
    const sight = this.#ask(changes).finally(() => {
      if (this.#looking?.sight === sight) this.#looking = undefined;
    });
    this.#looking = { changes, sight };
    return sight;
  }

  async #ask(changes: number): Promise<Sight> {
    const { xl, clock } = this.#parts;
    const at = clock.monotonic();
    const untrustedText = await xl.run(['list', '-v'], { what: WHAT, timeoutMs: TIMEOUT_MS });
    const listed = listedIn(untrustedText);
    const isIncoming = ({ untrustedName }: ListedDomain) => isIncomingName(untrustedName);
    const sight: Sight = {
      domains: listed.filter((domain) => !isIncoming(domain)).map(livingFrom),
      incoming: listed.filter(isIncoming).map(livingFrom),
      changes,
      at,
    };
    if (this.#seen === undefined || this.#seen.changes <= changes) this.#take(sight);
    return sight;
  }

  #take(sight: Sight): void {
    const before = this.#seen;
    this.#seen = sight;
    this.#followUp(sight);
    if (before === undefined || this.#isClosed) return;
    const [old, now] = [before, sight].map(({ domains }) => new Map(domains.map((domain) => [domain.domid, domain])));
    for (const [domid, domain] of old ?? []) {
      if (now?.get(domid)?.uuid !== domain.uuid) this.#parts.onChange(domain, undefined);
    }
    for (const [domid, domain] of now ?? []) {
      const was = old?.get(domid);
      if (was?.uuid !== domain.uuid) this.#parts.onChange(undefined, domain);
      else if (was.run !== domain.run || was.reason !== domain.reason || isSuspended(domain)) {
        this.#parts.onChange(was, domain);
      }
    }
  }

  #followUp({ domains }: Sight): void {
    this.#cancelFollowUp();
    if (this.#isClosed || !domains.some(isSuspended)) return;
    this.#cancelFollowUp = this.#parts.clock.after(FRESH_MS, () => {
      this.touch();
      this.#lookSoon(0);
    });
  }

  /**
   * Looks without anybody waiting for it, unless somebody does so until then; when that fails, again and again: a death
   * must not be missed.
   */
  #lookSoon(afterMs: number): void {
    const { clock, log } = this.#parts;
    const isOld = () => this.#seen === undefined || clock.monotonic() - this.#seen.at > FRESH_MS;
    const look = () => {
      if (this.#isClosed || (this.#seen?.changes === this.#changes && !isOld())) return;
      this.#look().then(
        () => {
          this.#failures = 0;
        },
        (error: unknown) => {
          this.#failures++;
          if (this.#failures === 1) log.warn('the domains could not be listed; it is tried again', { error });
          if (!this.#isClosed) this.#lookSoon(backoffMs(this.#failures, RETRY));
        },
      );
    };
    if (afterMs === 0) look();
    else {
      this.#cancelLook();
      this.#cancelLook = clock.after(afterMs, look);
    }
  }
}

/** Tells whether xl calls a domain so that it is receiving from another host: such a one does not count as a VM's. */
export function isIncomingName(untrustedName: string): boolean {
  return INCOMING.test(untrustedName);
}

/** Tells whether the domain lies suspended: its state is being saved, or has been. */
export function isSuspended({ run, reason }: LivingDomain): boolean {
  return run === 'shutdown' && reason === SHUTDOWN_REASON.suspend;
}

/** What of xl's list counts: nobody's domains and those that are as good as gone are left out. */
function listedIn(untrustedText: string): ListedDomain[] {
  try {
    return parseXlList(untrustedText).filter(({ uuid, isDying }) => uuid !== NO_UUID && !isDying);
  } catch (error) {
    if (!(error instanceof XlListError)) throw error;
    throw new Fault('hypervisor.failed', { what: error.message }, { cause: error });
  }
}

function livingFrom({ domid, uuid, untrustedName, isPaused, shutdownReason, cpuSeconds }: ListedDomain): LivingDomain {
  const name = untrustedName === '(null)' ? uuid : printable(untrustedName, 63);
  const base = { domid, uuid, name, hasRun: cpuSeconds > 0 };
  if (shutdownReason !== undefined) return { ...base, run: 'shutdown', reason: shutdownReason };
  return { ...base, run: isPaused ? 'paused' : 'running' };
}

function only(domains: readonly LivingDomain[], uuid: VmUuid): LivingDomain | undefined {
  const [domain, ...others] = domains.filter((other) => other.uuid === uuid);
  if (domain === undefined || others.length === 0) return domain;
  const domids = [domain, ...others].map(({ domid }) => domid).join(' and ');
  const hint = 'Somebody started it a second time by xl. Find out which one is right, and end the other: xl destroy ID';
  throw new Fault('hypervisor.lost', { vm: domain.name, what: `the domains ${domids} both have its uuid` }, { hint });
}

/** Waits for a look that others wait for too: giving up the wait does not give up the look. */
function given<T>(promise: Promise<T>, { signal }: Waiting): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(new Fault('aborted', { what: WHAT }, { cause: signal.reason }));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
