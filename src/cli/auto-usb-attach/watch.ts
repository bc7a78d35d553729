/**
 * The run of auto-usb-attach: waits for the domain, keeps its assignments, tells what happens, until the domain or the
 * person ends it. What is attached when is the daemon's business; here is only said what it is to do.
 */
import type { Client } from '../../api/client.ts';
import type { VmView } from '../../api/views.ts';
import type { AutoAttachSettings } from '../../config/auto-usb-attach.ts';
import { type Clock, sleep, systemClock } from '../../lib/clock.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { Fault, isFault, messageOf } from '../../lib/fault.ts';
import type { EventBody, UsherEvent } from '../../model/event.ts';
import { HOST_BACKEND } from '../../model/ids.ts';
import { deviceKey } from '../../model/usb.ts';
import type { PowerState } from '../../model/vm.ts';
import type { Journal } from './journal.ts';
import { devicePattern, hubPattern, isHubRow, OwnAssignments } from './own-assignments.ts';
import type { RunNotes } from './run-notes.ts';
import { sayEvent } from './said-events.ts';

export interface WatchOptions {
  readonly settings: AutoAttachSettings;
  readonly journal: Journal;
  readonly notes: RunNotes;
  /** Aborted when the person ends it. */
  readonly signal: AbortSignal;
  /** Connects to the daemon. @throws Fault `daemon.unreachable` */
  connect(): Promise<Client>;
  readonly clock?: Clock;
  /** How often is looked for a domain that nobody tells of. Default 5 s. */
  readonly lookMs?: number;
  /** How long a domain may be away, as when it is restarted, without having been shut down. Default 2 s. */
  readonly graceMs?: number;
}

/** How often a daemon that has gone is tried. */
const RECONNECT_MS = 1_000;
/** How often is looked whether a domain that has ended is back. */
const AWAY_LOOK_MS = 200;
/** How long the end may take. */
const END_MS = 30_000;

const LIVING: ReadonlySet<PowerState> = new Set<PowerState>(['running', 'paused', 'suspending']);
const ENDED: ReadonlySet<PowerState> = new Set<PowerState>(['halted', 'crashed']);

/** What the run is at: waiting for the domain, or watching for it. */
interface Course {
  client: Client;
  isWatching: boolean;
  /** When the domain was first seen to have ended (monotonic ms). */
  endedAt: number | undefined;
  /** Whether it was told that it died and will be started again. */
  isComing: boolean;
  /** Whether its assignments may have to be made anew. */
  isDirty: boolean;
}

/** INVARIANTS: one turn of the loop at a time; whatever is told only wakes it, and it looks itself. */
export class Watch {
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  #own: OwnAssignments | undefined;
  #lastSeq: number | undefined;
  #wake: (() => void) | undefined;
  #isWoken = false;
  #isWaitSaid = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Runs until it is over; gives the exit status. @throws Fault what makes going on impossible */
  async run(): Promise<number> {
    const { signal, connect, settings, journal } = this.#options;
    signal.addEventListener('abort', () => this.#ring(), { once: true });
    let client = await connect();
    await this.#demandHubs(client);
    const course: Course = { client, isWatching: false, endedAt: undefined, isComing: false, isDirty: true };
    for (;;) {
      try {
        course.client = client;
        return await this.#follow(course);
      } catch (error) {
        if (!isFault(error, 'wire.closed') && !isFault(error, 'wire.broken')) throw error;
        journal.warn(`The daemon has gone: ${messageOf(error)} Devices of ${settings.domain} stay as they are.`);
      }
      const again = await this.#reconnect();
      if (again === undefined) {
        this.#own?.sayWhatStays();
        return this.#own === undefined ? 0 : 1;
      }
      client = again;
      course.isDirty = true;
      journal.say('The daemon is back');
    }
  }

  /** Does turn after turn with one connection. @throws Fault `wire.closed` when that is lost */
  async #follow(course: Course): Promise<number> {
    const { client } = course;
    const { signal, lookMs = 5_000 } = this.#options;
    void client.closed().then(() => this.#ring());
    await this.#listen(course);
    for (;;) {
      if (signal.aborted) return await this.#end(client, 0);
      const status = await this.#turn(course);
      if (status !== undefined) return await this.#end(client, status);
      await this.#rung(course.endedAt === undefined ? lookMs : AWAY_LOOK_MS);
    }
  }

  /** Looks at the domain and does what follows; gives the exit status when it is over. */
  async #turn(course: Course): Promise<number | undefined> {
    const { settings, journal, graceMs = 2_000 } = this.#options;
    const { domain } = settings;
    const vm = await this.#find(course.client);
    const isLiving = vm !== undefined && LIVING.has(vm.state);
    if (isLiving) {
      if (!course.isWatching) journal.say(`Domain ${domain} is ${vm.state}; watching`);
      Object.assign(course, { isWatching: true, endedAt: undefined, isComing: false });
    } else if (course.isWatching) {
      if (vm !== undefined && !ENDED.has(vm.state)) return undefined; // On its way, or suspended: it comes back.
      course.endedAt ??= this.#clock.monotonic();
      if (course.isComing || this.#clock.monotonic() - course.endedAt < graceMs) return undefined;
      journal.say(`Domain ${domain} has shut down`);
      if (!settings.isWaitingOnShutdown) return 0;
      Object.assign(course, { isWatching: false, endedAt: undefined });
      journal.say(`Waiting for domain ${domain} to start`);
      return undefined;
    } else if (!settings.isWaitingForDomain && !(vm?.state === 'starting' || vm?.state === 'restoring')) {
      journal.warn(`Domain ${domain} does not run`);
      return 1;
    } else if (!this.#isWaitSaid) {
      this.#isWaitSaid = true;
      journal.say(`Waiting for domain ${domain} to start`);
    }
    if (vm === undefined || !course.isDirty) return undefined;
    course.isDirty = false;
    await this.#assign(course.client, vm);
    return undefined;
  }

  /** Finds the domain by its name; one that others run is taken into the inventory. */
  async #find(client: Client): Promise<VmView | undefined> {
    const { domain } = this.#options.settings;
    const rows = await client.call('vm.list', { isAll: true });
    const row = rows.find(({ name }) => name === domain);
    if (row?.isStranger !== true) return row;
    if (!LIVING.has(row.state)) return undefined;
    await client.call('vm.adopt', { domain: row.uuid });
    this.#options.journal.say(
      `Domain ${domain} was started by others: Usher knows it from now on (usher vm show ${domain})`,
    );
    return { ...row, isStranger: false };
  }

  async #assign(client: Client, { uuid, name }: VmView): Promise<void> {
    const { settings, journal, notes } = this.#options;
    const rows = await client.call('usb.list', { isAll: true });
    const isChosen = ({ deviceId }: { deviceId: string }) =>
      settings.devices.some((one) => deviceId.startsWith(`${one}:`));
    const chosenHubs = rows.filter((row) => isChosen(row) && isHubRow(row)).map(({ device }) => `${device}.*`);
    const patterns = [
      ...settings.hubs.map((hub) => hubPattern(hub)),
      ...settings.devices.map(devicePattern),
      ...chosenHubs,
    ];
    this.#own ??= new OwnAssignments({ uuid, name }, journal, notes);
    await this.#own.want(client, patterns);
  }

  /** Refuses a hub that is something else; one that is not there may come. @throws Fault `usage` */
  async #demandHubs(client: Client): Promise<void> {
    const rows = await client.call('usb.list', { isAll: true });
    for (const hub of this.#options.settings.hubs.filter((one) => !one.startsWith('usb'))) {
      const row = rows.find(({ device }) => device === deviceKey({ backend: HOST_BACKEND, busid: hub }));
      if (row === undefined) this.#options.journal.say(`No hub is plugged at ${hub} now`);
      else if (!isHubRow(row)) throw new Fault('usage', { what: `${hub} is no hub but ${row.description}` });
    }
  }

  async #listen(course: Course): Promise<void> {
    const { client } = course;
    const { settings, journal } = this.#options;
    const take = (notice: object) => {
      const { event } = notice as { readonly event?: UsherEvent };
      if (event === undefined) return;
      this.#lastSeq = event.seq;
      sayEvent(event, settings, journal);
      if (event.kind === 'vm.death' && event.body.name === settings.domain) course.isComing = isComingBack(event.body);
      const isPlug = event.kind === 'usb.plugged' || event.kind === 'usb.unplugged';
      if (isPlug && settings.devices.some((one) => event.body.deviceId.startsWith(`${one}:`))) course.isDirty = true;
      if (isPlug ? course.isDirty : event.kind.startsWith('vm.')) this.#ring();
    };
    const since = this.#lastSeq === undefined ? {} : { since: this.#lastSeq };
    await client.call('events.follow', since, take).catch(async (error: unknown) => {
      if (!isFault(error, 'events.gone')) throw error;
      await client.call('events.follow', {}, take);
    });
  }

  async #end(client: Client, status: number): Promise<number> {
    const own = this.#own;
    if (own === undefined) return status;
    const what = 'Taking the assignments back';
    await withDeadline({ what, timeoutMs: END_MS, clock: this.#clock }, () => own.giveBack(client));
    return status;
  }

  /** Tries again and again; `undefined` when the person ends it first. */
  async #reconnect(): Promise<Client | undefined> {
    const { signal, connect, journal } = this.#options;
    while (!signal.aborted) {
      try {
        return await connect();
      } catch (error) {
        if (!isFault(error)) throw error;
        journal.say(error.message, 2);
        await sleep(this.#clock, RECONNECT_MS, signal).catch(() => undefined);
      }
    }
    return undefined;
  }

  #ring(): void {
    this.#isWoken = true;
    this.#wake?.();
  }

  /** Resolves when it is rung, at once if it was since the last time, or after `ms`. */
  async #rung(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.#isWoken) return resolve();
      const cancel = this.#clock.after(ms, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = undefined;
    this.#isWoken = false;
  }
}

/** Tells whether somebody starts it again: the daemon, or for a reboot whoever else has made it. */
function isComingBack({ reason, action }: EventBody['vm.death']): boolean {
  return action === 'restart' || (action === 'preserve' && reason === 'reboot');
}
