/** A domain of the simulated world: run state, death, controllers and what is attached. Checks nothing of the world. */
import type { Clock } from '../../lib/clock.ts';
import { Fault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import { type Attachment, CONTROLLER_SPEEDS, deviceKey, formatSlot, type UsbSlot } from '../../model/usb.ts';
import { CONTROLLER_PORTS, type VmConfig } from '../../model/vm.ts';
import type { Controller, Death, DeathReason, Domain, DomainDescription } from '../driver.ts';
import { SimulatedGuest } from './simulated-guest.ts';
import type { GuestMemory } from './world-port.ts';

/** Why nothing is attached to a domain without a device model. */
export const MODEL_GONE = 'its device model is gone, and the VM has USB again when it is started anew';

export interface SimulatedDomainParts {
  readonly handle: number;
  readonly clock: Clock;
  readonly bootMs: number;
  readonly maxControllers: number;
  readonly memory?: GuestMemory | undefined;
}

export class SimulatedDomain {
  readonly uuid: VmUuid;
  readonly guest: SimulatedGuest;
  /** Set when the guest stood still as it was asked to shut down: it hears of it when it runs again. */
  isShutdownAsked = false;
  readonly #config: VmConfig;
  readonly #handle: number;
  readonly #maxControllers: number;
  #controllers: readonly Controller[];
  #isModelGone = false;
  /** What is in its CD drives, where that was changed. */
  readonly #media = new Map<string, string | undefined>();
  #memoryMiB: number;
  readonly #attachments = new Map<string, Attachment>();
  #run: Domain['run'] = 'paused';
  #runAfterSave: 'running' | 'paused' = 'paused';
  #death: Death | undefined;
  #view: Domain | undefined;

  constructor(config: VmConfig, { handle, clock, bootMs, maxControllers, memory }: SimulatedDomainParts) {
    this.uuid = config.uuid;
    this.guest = new SimulatedGuest(config.uuid, clock, bootMs, memory);
    this.#config = config;
    this.#memoryMiB = config.memoryMiB;
    this.#handle = handle;
    this.#maxControllers = maxControllers;
    this.#controllers = config.usbControllers.map(({ version, ports }, index) => {
      return { index, version, ports, speeds: CONTROLLER_SPEEDS[version] };
    });
  }

  get name(): string {
    return this.#config.name;
  }

  get config(): VmConfig {
    return this.#config;
  }

  get run(): Domain['run'] {
    return this.#run;
  }

  get attachments(): Iterable<Attachment> {
    return this.#attachments.values();
  }

  get attachmentCount(): number {
    return this.#attachments.size;
  }

  /** Gives the domain as a driver reports it: the same value until something changes. */
  view(): Domain {
    this.#view ??= {
      uuid: this.uuid,
      name: this.name,
      handle: this.#handle,
      run: this.#run,
      ...(this.#death === undefined ? {} : { death: this.#death }),
      controllers: this.#isModelGone ? [] : this.#controllers,
      ...(this.#canAdd ? { canAddController: true } : {}),
      ...(this.#isModelGone ? { usbTrouble: MODEL_GONE } : {}),
      attachments: [...this.#attachments.values()].sort((a, b) => a.controller - b.controller || a.port - b.port),
    };
    return this.#view;
  }

  /** Tells what it was made of. */
  describe(): DomainDescription {
    const { virtMode, kernel, initrd, cmdline, vcpus, usbControllers, serial } = this.#config;
    const memoryMiB = this.#memoryMiB;
    const disks = this.#config.disks.flatMap((disk) => {
      const path = this.#media.has(disk.target) ? this.#media.get(disk.target) : disk.path;
      return path === undefined ? [] : [{ ...disk, path }];
    });
    const texts = Object.entries({ virtMode, kernel, initrd, cmdline }).filter(([, value]) => value !== undefined);
    const settings = { ...Object.fromEntries(texts), memoryMiB, vcpus, disks, usbControllers };
    return { settings, omits: serial === undefined ? [] : ['a serial port'] };
  }

  /** Puts a medium into a CD drive, or takes it out. @throws Fault `vm.no_drive` */
  changeMedium(target: string, file: string | undefined): void {
    const drive = this.#config.disks.find((disk) => disk.target === target && disk.kind === 'cdrom');
    if (drive === undefined) throw new Fault('vm.no_drive', { vm: this.name, target });
    this.#media.set(target, file);
  }

  /** @throws Fault `vm.unsupported` above what it was started with */
  setMemoryTarget(memoryMiB: number): void {
    const most = this.#config.memoryMiB;
    if (memoryMiB > most)
      throw new Fault('vm.unsupported', { verb: 'memory', vm: this.name, what: `it was started with ${most} MiB` });
    this.#memoryMiB = memoryMiB;
  }

  /** Lets it run or pauses it; while it is saved this is what it does afterwards. */
  setRun(run: 'running' | 'paused'): void {
    if (this.#run === 'saving') this.#runAfterSave = run;
    else this.#setRun(run);
  }

  beginSave(): void {
    this.#runAfterSave = this.#run === 'running' ? 'running' : 'paused';
    this.#setRun('saving');
  }

  /** Goes on as it was before the save. */
  resumeFromSave(): void {
    this.#setRun(this.#runAfterSave);
  }

  die(reason: DeathReason, detail: string): void {
    this.#death = { reason, detail };
    this.#setRun('dead');
  }

  get isModelGone(): boolean {
    return this.#isModelGone;
  }

  /** Takes the device model away, with what is attached, or gives it a new one. */
  setModelGone(isGone: boolean): void {
    this.#isModelGone = isGone;
    if (isGone) this.#attachments.clear();
    this.#view = undefined;
  }

  /** Gives it one more controller, which takes everything; `undefined` when it has as many as it can have. */
  addController(): Controller | undefined {
    if (!this.#canAdd) return undefined;
    const index = this.#controllers.length;
    const controller = { index, version: 3, ports: CONTROLLER_PORTS[3].usual, speeds: CONTROLLER_SPEEDS[3] } as const;
    this.#controllers = [...this.#controllers, controller];
    this.#view = undefined;
    return controller;
  }

  get #canAdd(): boolean {
    return !this.#isModelGone && this.#controllers.length < this.#maxControllers;
  }

  controllerAt(slot: UsbSlot): Controller | undefined {
    const controller = this.#controllers[slot.controller];
    const isThere = controller !== undefined && slot.port >= 1 && slot.port <= controller.ports;
    return isThere ? controller : undefined;
  }

  at(slot: UsbSlot): Attachment | undefined {
    return this.#attachments.get(formatSlot(slot));
  }

  attach(attachment: Attachment): void {
    this.#attachments.set(formatSlot(attachment), attachment);
    this.#view = undefined;
  }

  /** Takes the attachment away if it is this one; tells whether it was. */
  detach(attachment: Attachment): boolean {
    const present = this.at(attachment);
    const isSame =
      present !== undefined &&
      deviceKey(present) === deviceKey(attachment) &&
      present.generation === attachment.generation;
    if (isSame) {
      this.#attachments.delete(formatSlot(attachment));
      this.#view = undefined;
    }
    return isSame;
  }

  #setRun(run: Domain['run']): void {
    this.#run = run;
    this.guest.setRunning(run === 'running');
    this.#view = undefined;
  }
}
