/** For tests of the router only: a world of VMs and devices that executes steps, slowly or badly as it is told. */
import type { Controller, DeviceSource } from '../hypervisor/driver.ts';
import { ManualClock, sleep } from '../lib/clock.ts';
import { Fault } from '../lib/fault.ts';
import { type Assignment, type Hold, type Question, questionOf, silenceOn } from '../model/assignment.ts';
import type { VmUuid } from '../model/ids.ts';
import { EMPTY_POLICY } from '../model/policy.ts';
import { type Attachment, deviceKey, formatSlot, type UsbDevice } from '../model/usb.ts';
import type { RouterOptions } from './passes.ts';
import type { ObservedVm, StepOf } from './plan-types.ts';
import { Router } from './router.ts';
import { controller, vmId, wordOf } from './test-world.ts';

interface WorldVm {
  controllers: Controller[];
  attachments: Attachment[];
  isRunning: boolean;
  isOpen: boolean;
}

export class RouterWorld {
  readonly clock = new ManualClock(0);
  readonly vms = new Map<VmUuid, WorldVm>();
  readonly devices = new Map<string, UsbDevice>();
  assignments: Assignment[] = [];
  holds: Hold[] = [];
  questions: Question[] = [];
  policy = EMPTY_POLICY;
  askTimeoutMs = 60_000;
  /** What was done, in order, and what was found to be wrong. */
  readonly log: string[] = [];
  readonly looks: string[] = [];
  readonly errors: string[] = [];
  /** How long things take; what hangs does so until it is aborted. */
  attachMs = 0;
  detachMs = 0;
  observeMs = 0;
  addControllerMs = 0;
  /** As many controllers a VM can have, with those that are added. */
  maxControllers = 0;
  failing: (step: string) => boolean = () => false;
  hanging = new Set<VmUuid>();
  isReadable = true;
  readonly #ports: number;
  #hint: (() => void) | undefined;
  readonly #options: RouterOptions;
  router: Router;

  /** `ports`: of the controller that each VM starts with. */
  constructor(vms: number, options: Partial<RouterOptions> = {}, ports = 4) {
    this.#ports = ports;
    for (let n = 1; n <= vms; n++) this.addVm(n);
    const source: DeviceSource = {
      backend: 'dom0',
      list: async () => {
        this.looks.push('dom0');
        if (!this.isReadable) throw new Error('EIO');
        return [...this.devices.values()];
      },
      watch: (onHint) => {
        this.#hint = onHint;
        return () => (this.#hint = undefined);
      },
    };
    this.#options = {
      listVms: () => [...this.vms.keys()].map((uuid) => ({ uuid, name: nameOf(uuid) })),
      observeVm: (uuid, signal) => this.#observe(uuid, signal),
      sources: [source],
      wishes: () => ({
        assignments: this.assignments,
        holds: this.holds,
        questions: this.questions,
        policy: this.policy,
      }),
      executors: {
        attach: (step, signal) => this.#attach(step, signal),
        detach: (step, signal) => this.#detach(step, signal),
        addController: (step, signal) => this.#addController(step, signal),
        dropHold: async ({ hold }) => {
          this.log.push(`dropHold ${deviceKey(hold)}`);
          this.holds = this.holds.filter((other) => other !== hold);
        },
        carryHold: async ({ hold, as }) => {
          this.log.push(`carryHold ${deviceKey(hold)}`);
          this.holds = this.holds.map((other) => (other === hold ? as : other));
        },
        ask: async (step) => {
          this.log.push(wordOf(step));
          const now = this.clock.now();
          this.questions.push(questionOf(step.device, step.vms, now, now + this.askTimeoutMs));
        },
        endQuestion: async (step) => {
          this.log.push(wordOf(step));
          this.questions = this.questions.filter((other) => other !== step.question);
          if (step.as === 'unanswered') this.holds.push(silenceOn(step.question, this.clock.now()));
        },
      },
      clock: this.clock,
      attacher: { random: () => 0 },
      ...options,
    };
    this.router = new Router(this.#options);
  }

  /** Ends the router as a crash would, and starts the next one; resolves when that has made its first plan. */
  async restartRouter(): Promise<void> {
    await this.router.close();
    this.router = new Router(this.#options);
    const started = this.router.start();
    await this.settle();
    await this.clock.advance(1_000); // The first plan waits no longer for a VM that cannot be observed.
    await this.settle();
    await started;
  }

  /** Adds a VM that runs, without a word to the router. */
  addVm(number: number): void {
    const controllers = [controller(0, this.#ports)];
    this.vms.set(vmId(number), { controllers, attachments: [], isRunning: true, isOpen: true });
  }

  async start(): Promise<void> {
    const started = this.router.start();
    await this.settle();
    await started;
  }

  /** Lets everything that is due happen, without time going on. */
  async settle(): Promise<void> {
    for (let i = 0; i < 8; i++) await this.clock.advance(0);
  }

  async plug(device: UsbDevice): Promise<void> {
    this.devices.set(deviceKey(device), device);
    this.#hint?.();
    await this.settle();
  }

  async unplug(key: string): Promise<void> {
    this.devices.delete(key);
    this.#hint?.();
    await this.settle();
  }

  /** Ends a VM's domain, or starts a new one, without a word to the router. */
  power(number: number, isRunning: boolean): void {
    const vm = this.#vm(vmId(number));
    Object.assign(vm, { isRunning, controllers: [controller(0, this.#ports)], attachments: [] });
  }

  /** Ends a VM's domain and starts a new one, and says so each time. */
  async restart(number: number): Promise<void> {
    for (const isRunning of [false, true]) {
      this.power(number, isRunning);
      this.router.hint({ vm: vmId(number) });
      await this.settle();
    }
  }

  setOpen(number: number, isOpen: boolean): void {
    this.#vm(vmId(number)).isOpen = isOpen;
  }

  /** Where the device is, as `vm1 0-2`; several when something is wrong. */
  whereIs(key: string): string {
    const found = [...this.vms].flatMap(([uuid, { attachments }]) =>
      attachments.filter((one) => deviceKey(one) === key).map((one) => `${nameOf(uuid)} ${formatSlot(one)}`),
    );
    return found.join(', ') || '-';
  }

  #vm(uuid: VmUuid): WorldVm {
    const vm = this.vms.get(uuid);
    if (vm === undefined) throw new Fault('vm.not_found', { vm: uuid });
    return vm;
  }

  /** What it answers is the truth of when it was asked. */
  async #observe(uuid: VmUuid, signal: AbortSignal): Promise<ObservedVm | undefined> {
    this.looks.push(nameOf(uuid));
    const vm = this.vms.get(uuid);
    if (vm === undefined) return undefined;
    const { isRunning, isOpen, controllers, attachments } = vm;
    const seen = { uuid, name: nameOf(uuid), isOpen: isOpen && isRunning };
    const canAddController = controllers.length < this.maxControllers;
    const domain = { controllers: [...controllers], attachments: [...attachments], canAddController };
    if (this.hanging.has(uuid)) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    else if (this.observeMs > 0) await sleep(this.clock, this.observeMs, signal);
    return isRunning ? { ...seen, power: 'running', domain } : { ...seen, power: 'halted' };
  }

  async #attach(step: StepOf<'attach'>, signal: AbortSignal): Promise<void> {
    const { vm, slot, device } = step;
    const key = deviceKey(device);
    await this.#begin(wordOf(step), this.attachMs, signal);
    if (this.devices.get(key)?.generation !== device.generation) throw new Fault('usb.device_gone', { device: key });
    const target = this.#vm(vm);
    if (!target.isRunning) throw new Fault('vm.no_domain', { vm: nameOf(vm) });
    const { backend, busid, deviceId, generation } = device;
    const before = this.whereIs(key);
    const isThere = target.attachments.some((other) => formatSlot(other) === formatSlot(slot));
    if (before !== '-') this.errors.push(`${wordOf(step)}, but it is in ${before}`);
    if (isThere) this.errors.push(`${wordOf(step)}, but the port is taken`);
    target.attachments.push({ vm, ...slot, backend, busid, deviceId, generation });
  }

  async #detach(step: StepOf<'detach'>, signal: AbortSignal): Promise<void> {
    const { vm, attachment } = step;
    await this.#begin(wordOf(step), this.detachMs, signal);
    const target = this.#vm(vm);
    target.attachments = target.attachments.filter((other) => formatSlot(other) !== formatSlot(attachment));
  }

  async #addController(step: StepOf<'addController'>, signal: AbortSignal): Promise<void> {
    const vm = this.#vm(step.vm);
    await this.#begin(wordOf(step), this.addControllerMs, signal);
    const isIdle = ({ index }: Controller) => !vm.attachments.some((other) => other.controller === index);
    if (vm.controllers.slice(1).some(isIdle)) this.errors.push(`${wordOf(step)}, but one that was added is not used`);
    if (vm.controllers.length >= this.maxControllers) this.errors.push(`${wordOf(step)}, but it can have no more`);
    vm.controllers = [...vm.controllers, controller(vm.controllers.length, 2)];
  }

  async #begin(word: string, ms: number, signal: AbortSignal): Promise<void> {
    this.log.push(word);
    if (ms > 0) await sleep(this.clock, ms, signal);
    if (this.failing(word)) throw new Fault('usb.attach_failed', { device: word, vm: '', what: 'told to fail' });
  }
}

/** Tells whether the promise has neither been kept nor broken so far. @throws what it was rejected with */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending');
  return (await Promise.race([promise, pending])) === pending;
}

function nameOf(uuid: VmUuid): string {
  return `vm${Number(uuid.slice(-4))}`;
}
