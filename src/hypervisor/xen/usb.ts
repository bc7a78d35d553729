/**
 * USB of Xen's domains, as the driver asks for it: PVUSB (`qusb`) for PV and PVH, controllers that the device model emulates
 * for HVM. The present is read from xenstore, /proc and sysfs each time; what others did by hand is seen and told.
 * docs/protocols/pvusb.md has the nodes, the orders, and the defects that are healed; usb-upkeep.ts heals unasked.
 */
import { Fault, isFault } from '../../lib/fault.ts';
import { KeyedQueue } from '../../lib/keyed-queue.ts';
import { HOST_BACKEND, type VmUuid } from '../../model/ids.ts';
import { type Attachment, deviceKey, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { Controller, Domain, Finding, Waiting } from '../driver.ts';
import type { DeviceModels } from './device-models.ts';
import type { DomainNodes } from './domain-nodes.ts';
import { notePath, XENBUS_STATE } from './nodes.ts';
import type { Attachments } from './usb-attachments.ts';
import { controllerOf, SILENT, UsbClaims } from './usb-claims.ts';
import { canAdd, makeController, usableControllers } from './usb-controllers.ts';
import { diagnoseUsb } from './usb-doctor.ts';
import { attachHostDevice, detachHostDevice, type UsbHostContext } from './usb-host.ts';
import { told, type UsbDomain } from './usb-ports.ts';
import type { UsbRemains } from './usb-remains.ts';
import { UsbSettling } from './usb-settling.ts';
import { attachSoftwareDevice, detachSoftwareDevice } from './usb-software.ts';
import { UsbUpkeep, type UsbUpkeepParts } from './usb-upkeep.ts';
import type { UsbView } from './usb-view.ts';

/** What a domain's USB is, as observed. */
export type ObservedUsb = Pick<Domain, 'controllers' | 'attachments' | 'canAddController' | 'usbTrouble' | 'isPartial'>;

/**
 * INVARIANTS:
 * - At the ports of one number of a domain, on all its controllers, one thing is done at a time, in order.
 * - A busid is written to a port only when no living domain's port names it.
 * - Nothing is told of a domain whose uuid is not the one asked for: domids are given anew.
 */
export class XenUsb {
  readonly #parts: UsbUpkeepParts;
  readonly #cares: (uuid: VmUuid | undefined) => boolean;
  readonly #upkeep: UsbUpkeep;
  readonly #view: UsbView;
  readonly #models: DeviceModels;
  readonly #attachments: Attachments;
  readonly #remains: UsbRemains;
  readonly #context: UsbHostContext;
  readonly #claims: UsbClaims;
  readonly #settling: UsbSettling;
  readonly #queue = new KeyedQueue();
  /** Slots that are being worked on, as `5 0-1`. */
  readonly #busy = new Set<string>();

  private constructor(parts: UsbUpkeepParts, upkeep: UsbUpkeep) {
    const { xenstore, clock, log } = parts;
    const { hosts, view, models, attachments, remains } = upkeep;
    this.#parts = parts;
    this.#cares = parts.cares ?? (() => true);
    this.#upkeep = upkeep;
    this.#view = view;
    this.#models = models;
    this.#attachments = attachments;
    this.#remains = remains;
    this.#context = { xenstore, clock, log, hosts, places: parts };
    this.#settling = new UsbSettling({ hosts, clock });
    this.#claims = new UsbClaims({ context: this.#context, view, models, attachments, remains, cares: this.#cares });
  }

  /** Looks at the USB of every domain, and watches it from then on. @throws as reading xenstore does */
  static async open(parts: UsbUpkeepParts): Promise<XenUsb> {
    return new XenUsb(parts, await UsbUpkeep.open(parts));
  }

  /**
   * Observes a domain's USB. A device model that does not answer is a fault, unless it is but one of many that are looked
   * at: then that is told, with what can be known without it. @throws Fault `vm.no_domain`, `hypervisor.failed`,
   * `hypervisor.lost`, and the connection's
   */
  async observe(domain: UsbDomain, waiting: Waiting = {}, { isOneOfMany = false } = {}): Promise<ObservedUsb> {
    const nodes = await this.#nodesOf(domain, this.#view.refresh(domain.domid));
    const model = this.#models.holdOf(nodes);
    const trouble = this.#models.troubleOf(nodes) ?? whyOutOfReach(nodes);
    if (model === undefined || trouble !== undefined) {
      return { controllers: [], attachments: [], ...(trouble === undefined ? {} : { usbTrouble: trouble }) };
    }
    this.#dropLeftNotes(nodes);
    const controllers = usableControllers(nodes);
    const [host, software] = await Promise.all([
      this.#attachments.read(nodes, model, (slot) => this.#isBusy(nodes.domid, slot)),
      this.#claims.softwareOf({ domain, nodes, model }, waiting).catch((error: unknown) => {
        if (isOneOfMany && isFault(error, 'hypervisor.lost')) return undefined;
        throw error;
      }),
    ]);
    if (software === undefined) return { controllers: [], attachments: host, usbTrouble: SILENT, isPartial: true };
    return {
      controllers,
      attachments: [...host, ...software].sort((a, b) => a.controller - b.controller || a.port - b.port),
      ...(canAdd(nodes) ? { canAddController: true } : {}),
    };
  }

  /**
   * Attaches a device at a slot, and returns when the device model has it. A paused guest can be given devices, and one
   * whose driver is not there yet: it finds them when it is.
   * @throws Fault as `Driver.attachDevice`
   */
  attach(domain: UsbDomain, slot: UsbSlot, device: UsbDevice, waiting: Waiting = {}): Promise<Attachment> {
    return this.#alone(domain, slot, async () => {
      const key = deviceKey(device);
      const { name: vm } = domain;
      if (waiting.signal?.aborted) throw new Fault('aborted', { what: `Attaching ${key}` });
      const nodes = await this.#nodesOf(domain, this.#view.current(domain.domid));
      const controller = controllerOf(nodes, slot, device, vm);
      const model = this.#models.holdOf(nodes);
      if (model === undefined) {
        const what = this.#models.troubleOf(nodes) ?? 'it has no device model';
        throw new Fault('usb.attach_failed', { device: key, vm, what });
      }
      await this.#claims.makeWay({ domain, nodes, model }, slot, device, waiting);
      const { software } = device;
      if (software !== undefined) {
        const parts = { domain, model, clock: this.#parts.clock };
        const attachment = await attachSoftwareDevice(parts, slot, { ...device, software }, waiting);
        this.#hint(domain); // xenstore, whose watches tell of all others, knows nothing of it.
        return attachment;
      }
      await this.#claims.makeWayElsewhere(domain, device);
      const attachment = await attachHostDevice(this.#context, domain, { controller, model }, slot, device, waiting);
      if (controller.backendState === XENBUS_STATE.connected) this.#settling.begin(domain.domid, slot);
      const rival = this.#claims.rivalOf(domain, device);
      if (rival === undefined) return attachment;
      await this.#settling.over(domain.domid, slot, device.busid, waiting);
      await detachHostDevice(this.#context, domain, { controller, model }, attachment, waiting);
      throw new Fault('usb.attached', { device: key, vm: rival });
    });
  }

  /**
   * Detaches what is at the attachment's slot, if it still is that device, and returns when dom0 has it again. Detaching
   * what is not there is fine, from a domain that is gone too. @throws Fault `usb.detach_failed`, `hypervisor.failed`
   */
  detach(domain: UsbDomain, attachment: Attachment, waiting: Waiting = {}): Promise<void> {
    return this.#alone(domain, attachment, async () => {
      const nodes = await this.#view.current(domain.domid);
      const controller = nodes?.controllers.find(({ index }) => index === attachment.controller);
      if (nodes === undefined || controller === undefined || nodes.uuid !== domain.uuid) return;
      const model = this.#models.holdOf(nodes);
      if (attachment.backend === HOST_BACKEND) {
        if (model !== undefined) await this.#settling.over(domain.domid, attachment, attachment.busid, waiting);
        await detachHostDevice(this.#context, domain, { controller, model }, attachment, waiting);
        this.#attachments.forget(domain.domid, attachment);
      } else if (model?.isOurs === true) {
        await detachSoftwareDevice({ domain, model, clock: this.#parts.clock }, attachment, waiting);
        this.#hint(domain);
      }
    });
  }

  /** Gives the domain one more controller. @throws Fault `usb.controller_failed`, `vm.no_domain` */
  addController(domain: UsbDomain, waiting: Waiting = {}): Promise<Controller> {
    return this.#queue.run(`${domain.domid} controller`, async () => {
      const { xl, clock } = this.#parts;
      const look = (domid: number) => this.#view.refresh(domid);
      const nodes = await this.#nodesOf(domain, look(domain.domid));
      if (this.#models.holdOf(nodes) === undefined || !canAdd(nodes)) {
        const what =
          this.#models.troubleOf(nodes) ?? 'it has no device model that could serve it, or has enough of them';
        throw new Fault('usb.controller_failed', { vm: domain.name, what });
      }
      return await makeController({ xl, clock, look }, domain, nodes, waiting);
    });
  }

  /** Clears what a domain that has ended left, and returns when dom0 has its devices again, as far as it will. */
  async release({ domid, uuid }: UsbDomain): Promise<void> {
    const nodes = await this.#view.refresh(domid);
    if (nodes?.uuid === undefined || nodes.uuid === uuid) {
      if (nodes !== undefined) await this.#remains.clear(nodes);
      this.#models.forget(domid);
      this.#attachments.forget(domid);
      this.#settling.forget(domid);
    }
    await this.#remains.settled(domid);
  }

  /** Says what is amiss with USB on this host, and what to do. Never throws. */
  diagnose(): Promise<Finding[]> {
    const { xenstore, usbfsRoot } = this.#parts;
    return diagnoseUsb({
      xenstore,
      usbfsRoot,
      domains: [...this.#view.domains.values()].filter(({ uuid }) => this.#cares(uuid)),
      troubleOf: (nodes) => this.#models.troubleOf(nodes),
    });
  }

  /** Lets go of everything; devices stay where they are. */
  close(): Promise<void> {
    return this.#upkeep.close();
  }

  /** @throws Fault `vm.no_domain` when another domain has that number by now, or none has */
  async #nodesOf(domain: UsbDomain, look: Promise<DomainNodes | undefined>): Promise<DomainNodes> {
    const nodes = await told(look);
    if (nodes?.uuid === domain.uuid) return nodes;
    const again = await told(this.#view.refresh(domain.domid));
    if (again?.uuid === domain.uuid) return again;
    throw new Fault('vm.no_domain', { vm: domain.name });
  }

  async #alone<T>({ domid }: UsbDomain, slot: UsbSlot, work: () => Promise<T>): Promise<T> {
    const key = `${domid} ${formatSlot(slot)}`;
    return this.#queue.run(`${domid} port ${slot.port}`, async () => {
      this.#busy.add(key);
      try {
        return await work();
      } finally {
        this.#busy.delete(key);
        this.#view.touch(domid);
      }
    });
  }

  #hint({ uuid }: UsbDomain): void {
    this.#parts.onHint({ about: 'usb', uuid });
  }

  #isBusy(domid: number, slot: UsbSlot): boolean {
    return this.#busy.has(`${domid} ${formatSlot(slot)}`);
  }

  /** A note on what others took out of its port, and that is plugged still, means nothing any more. */
  #dropLeftNotes(nodes: DomainNodes): void {
    for (const slot of this.#attachments.leftNotes(nodes)) {
      if (this.#isBusy(nodes.domid, slot)) continue;
      this.#parts.xenstore.rm(notePath(nodes.domid, slot)).catch((error: unknown) => {
        this.#parts.log.warn('a note on a device could not be dropped', { error });
      });
    }
  }
}

/** A device model in a stub domain has no process here. */
function whyOutOfReach({ modelPid, controllers }: DomainNodes): string | undefined {
  const isOutOfReach = modelPid === undefined && controllers.length > 0;
  return isOutOfReach ? 'its device model is not a process of dom0, and Usher cannot reach it' : undefined;
}
