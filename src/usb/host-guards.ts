/**
 * Tells with each device of this host what speaks against taking it: what the host does with it, and that it may be
 * somebody's keyboard or pointing device, perhaps the last one. A source around another one.
 */
import type { DeviceSource } from '../hypervisor/driver.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { Fault } from '../lib/fault.ts';
import { type Log, silentLog } from '../lib/log.ts';
import type { Objection } from '../model/host-use.ts';
import { claimedInputs, INPUT_KINDS } from '../model/input-claims.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import { HOST_ROOTS, type HostRoots } from './host-files.ts';
import type { HostInput } from './host-inputs.ts';
import { type HostState, readHostState, usesOf } from './in-use.ts';
import { type InputSettings, lastInputs, replacementsOf } from './last-inputs.ts';
import { isNobodysDevice, MissedInputs } from './missed-inputs.ts';

export interface HostGuardsOptions {
  readonly source: DeviceSource;
  readonly inputs?: InputSettings | undefined;
  readonly roots?: HostRoots | undefined;
  readonly log?: Log | undefined;
  readonly clock?: Clock | undefined;
  /** Default: {@link readHostState}. */
  readonly look?: ((roots: HostRoots) => Promise<HostState>) | undefined;
}

interface Looked {
  /** As it was given out: what did not change stays the same object. */
  readonly device: UsbDevice;
  /** As the source gave it. */
  readonly plain: UsbDevice;
  /** What spoke against it, in one text. */
  readonly key: string;
  /** When this plug was given out for the first time (monotonic ms). */
  readonly since: number;
}

const NOBODY = '*';
/** Nothing of the host has begun to use a device that is younger. */
const YOUNG_MS = 500;
/** By then the kernel has made of an input device what it is. */
const SETTLING_MS = 6_000;
const LOOK_AGAIN_MS = 1_000;
/** The system answers nothing: what may be in use is taken for in use. */
const UNSEEN: Objection = { kind: 'held', says: 'the host does not tell what it does with it' };

/**
 * INVARIANTS: a device that was plugged a moment ago is given out without a look at the host, which cannot use it yet,
 * unless it may be an input device; as long as the host has never told what it does, what it may use is not taken for free;
 * an input device that was plugged since the host last told may be its last; what is not plugged any more replaces nothing.
 */
export class HostGuards implements DeviceSource {
  readonly backend: string;
  readonly #options: HostGuardsOptions;
  readonly #known = new Map<string, Looked>();
  readonly #missed: MissedInputs;
  /** The plugs of the newest list, and those of the list before the newest look that succeeded. */
  #listed: ReadonlyMap<string, string> = new Map();
  #covered: ReadonlyMap<string, string> = new Map();
  #state: HostState | undefined;
  #isFirst = true;
  readonly #listeners = new Set<() => void>();
  #looking: Promise<void> | undefined;
  #cancelLook: (() => void) | undefined;

  constructor(options: HostGuardsOptions) {
    this.#options = options;
    this.#missed = new MissedInputs(options.inputs);
    this.backend = options.source.backend;
  }

  /** Lists the devices of the source, with what speaks against taking them. @throws Fault as the source does */
  async list(): Promise<readonly UsbDevice[]> {
    const devices = await this.#options.source.list();
    this.#listed = new Map(devices.map(({ busid, generation }) => [busid, generation]));
    const isWaited = this.#isFirst || devices.some((device) => this.#isNew(device) && this.#mayBeInput(device));
    this.#isFirst = false;
    if (isWaited) await this.#look();
    else if (devices.some((device) => this.#isWorthALook(device))) void this.#lookBehind();
    const given = this.#give(devices);
    this.#lookSoon(given);
    return given;
  }

  /** Has the next list tell what the host does at this moment, unless it has no use for that device. */
  async lookNow(device?: UsbDevice): Promise<void> {
    if (device === undefined || this.#isWorthALook(device)) await this.#look();
  }

  /** Tells whether the device was plugged a moment ago: nothing of the host has begun to use it. */
  isYoung({ busid }: UsbDevice): boolean {
    const { clock = systemClock } = this.#options;
    const since = this.#known.get(busid)?.since;
    return since !== undefined && clock.monotonic() - since < YOUNG_MS;
  }

  /**
   * Sees to it that nothing has come to speak against taking the device since it was given out. Legal for a device that was;
   * needless for one that is young. @throws Fault `usb.kept_back`
   */
  async checkStill(device: UsbDevice, vm: string): Promise<void> {
    const known = this.#known.get(device.busid);
    if (known === undefined || !this.#isWorthALook(device)) return;
    await this.#look();
    const before = new Set(device.objections?.map(({ says }) => says));
    const young = this.#objectionsTo(known.plain, this.#lastInputs()).find(({ says }) => !before.has(says));
    if (young === undefined) return;
    for (const onHint of this.#listeners) onHint();
    throw new Fault('usb.kept_back', { device: deviceKey(device), vm, what: young.says });
  }

  watch(onHint: () => void): () => void {
    this.#listeners.add(onHint);
    const stop = this.#options.source.watch(onHint);
    return () => {
      this.#listeners.delete(onHint);
      stop();
      if (this.#listeners.size > 0) return;
      this.#cancelLook?.();
      this.#cancelLook = undefined;
    };
  }

  #give(devices: readonly UsbDevice[]): readonly UsbDevice[] {
    const { clock = systemClock } = this.#options;
    const last = this.#lastInputs();
    if (this.#state !== undefined) this.#missed.note(devices, this.#inputsOf(this.#state));
    const given = devices.map((plain) => {
      const objections = plain.guard === undefined ? this.#objectionsTo(plain, last) : [];
      const replacedBy = plain.guard === undefined ? this.#replacementsOf(plain) : {};
      const key = JSON.stringify([objections, replacedBy]);
      const before = this.#known.get(plain.busid);
      if (before?.plain === plain && before.key === key) return before.device;
      const found = {
        ...(objections.length === 0 ? {} : { objections }),
        ...(Object.keys(replacedBy).length === 0 ? {} : { replacedBy }),
      };
      const device = Object.keys(found).length === 0 ? plain : { ...plain, ...found };
      const since = before?.plain.generation === plain.generation ? before.since : clock.monotonic();
      this.#known.set(plain.busid, { device, plain, key, since });
      return device;
    });
    const present = new Set(devices.map(({ busid }) => busid));
    for (const busid of this.#known.keys()) if (!present.has(busid)) this.#known.delete(busid);
    return given;
  }

  get #areInputsGuarded(): boolean {
    return this.#options.inputs?.neverCounts?.includes(NOBODY) !== true;
  }

  #mayBeInput({ guard, interfaces }: UsbDevice): boolean {
    const { certain, possible } = claimedInputs(interfaces);
    return this.#areInputsGuarded && guard === undefined && certain.length + possible.length > 0;
  }

  /** Storage, network adapters and what only its vendor knows: the host may use them. Sound and input are nobody's loss. */
  #isWorthALook(device: UsbDevice): boolean {
    if (device.guard !== undefined) return false;
    return this.#mayBeInput(device) || device.interfaces.some((triple) => !/^0[13]/.test(triple));
  }

  #isNew({ busid, generation }: UsbDevice): boolean {
    return this.#known.get(busid)?.plain.generation !== generation;
  }

  /** Nothing tells when the kernel has made an input device of what was plugged, and another one is the last no more. */
  #lookSoon(devices: readonly UsbDevice[]): void {
    const { clock = systemClock } = this.#options;
    const isYoung = ({ busid }: UsbDevice) =>
      clock.monotonic() - (this.#known.get(busid)?.since ?? Number.NEGATIVE_INFINITY) < SETTLING_MS;
    if (this.#listeners.size === 0 || !devices.some((device) => isYoung(device) && this.#mayBeInput(device))) return;
    this.#cancelLook ??= clock.after(LOOK_AGAIN_MS, () => {
      this.#cancelLook = undefined;
      void this.#lookBehind().then(() => this.#lookSoon(devices));
    });
  }

  /** Looks anew while nobody waits, and hints when something has changed. */
  async #lookBehind(): Promise<void> {
    if (this.#looking !== undefined) return;
    const before = JSON.stringify(this.#state);
    await this.#look();
    if (JSON.stringify(this.#state) !== before) for (const onHint of this.#listeners) onHint();
  }

  async #look(): Promise<void> {
    const { look = readHostState, roots = HOST_ROOTS, log = silentLog } = this.#options;
    const listed = this.#listed;
    const looking = look(roots).then(
      (state) => {
        this.#state = state;
        this.#covered = listed;
      },
      (error: unknown) => {
        log.warn('what the host does with its USB devices cannot be seen; what was seen last is taken for it', {
          error,
        });
      },
    );
    this.#looking = looking;
    await looking;
    if (this.#looking === looking) this.#looking = undefined;
  }

  #lastInputs(): ReturnType<typeof lastInputs> {
    return this.#state === undefined
      ? { keyboard: [], pointer: [] }
      : lastInputs(this.#inputsOf(this.#state), new Set(), this.#options.inputs);
  }

  /** The look may be older than the list: what is not plugged any more is nobody's keyboard. */
  #inputsOf({ inputs }: HostState): readonly HostInput[] {
    return inputs.filter(({ busids }) => busids.every((busid) => this.#listed.has(busid)));
  }

  #objectionsTo(device: UsbDevice, last: ReturnType<typeof lastInputs>): readonly Objection[] {
    const state = this.#state;
    if (state === undefined) return this.#isWorthALook(device) ? [...this.#unseenInputs(device), UNSEEN] : [];
    const uses = usesOf(state, device.busid)
      .filter(({ kind }) => kind !== 'keyboard' && kind !== 'pointer')
      .map(({ kind, detail }): Objection => ({ kind, says: detail }));
    if (!this.#areInputsGuarded) return uses;
    const { certain, possible } = claimedInputs(device.interfaces);
    const lasts = INPUT_KINDS.filter((kind) => last[kind].includes(device.busid)).map(
      (kind): Objection => ({ kind: `last ${kind}`, says: `it is the last USB ${NAMES[kind]} of the host` }),
    );
    const missed = this.#missed
      .missed(device, this.#inputsOf(state))
      .map((kind): Objection => ({ kind: `missed ${kind}`, says: `the host has no other ${NAMES[kind]} left` }));
    const claims: readonly Objection[] = [
      ...certain.map((kind): Objection => ({ kind, says: `it is a ${NAMES[kind]}` })),
      ...(certain.length === 0 && possible.length > 0
        ? [{ kind: 'input' as const, says: 'it is an input device, and may be a keyboard' }]
        : []),
    ];
    const isCovered = this.#covered.get(device.busid) === device.generation;
    return [...(isCovered ? lasts : this.#unseenInputs(device)), ...missed, ...uses, ...claims];
  }

  #replacementsOf({ busid }: UsbDevice): NonNullable<UsbDevice['replacedBy']> {
    if (!this.#areInputsGuarded || this.#state === undefined) return {};
    return replacementsOf(this.#inputsOf(this.#state), busid, this.#options.inputs);
  }

  /** Of a host that does not tell what else it has, each one may be the last. */
  #unseenInputs(device: UsbDevice): readonly Objection[] {
    if (!this.#areInputsGuarded || isNobodysDevice(device, this.#options.inputs)) return [];
    const { certain, possible } = claimedInputs(device.interfaces);
    return INPUT_KINDS.filter((kind) => certain.includes(kind) || possible.includes(kind)).map(
      (kind): Objection => ({
        kind: `last ${kind}`,
        says: `the host does not tell whether it has another ${NAMES[kind]}`,
      }),
    );
  }
}

const NAMES = { keyboard: 'keyboard', pointer: 'pointing device' } as const;
