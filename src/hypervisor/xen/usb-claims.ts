/**
 * Whether a device may go to a slot: what is at the slot, who has the device, and what only seems to be in the way. What is
 * lost is taken out; what is there is refused.
 */
import { Fault } from '../../lib/fault.ts';
import { printable } from '../../lib/text.ts';
import { HOST_BACKEND, type VmUuid } from '../../model/ids.ts';
import { type Attachment, deviceKey, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { Waiting } from '../driver.ts';
import { LOST_GENERATION } from '../host-device.ts';
import type { ModelHold } from './device-model-hold.ts';
import type { DeviceModels } from './device-models.ts';
import type { ControllerState, DomainNodes } from './domain-nodes.ts';
import type { Attachments } from './usb-attachments.ts';
import { rivalOf, whyUnusable } from './usb-controllers.ts';
import { detachHostDevice, type UsbHostContext } from './usb-host.ts';
import { told, type UsbDomain } from './usb-ports.ts';
import type { UsbRemains } from './usb-remains.ts';
import { readSoftwareDevices } from './usb-software.ts';
import type { Holder, UsbView } from './usb-view.ts';

export interface UsbClaimsParts {
  readonly context: UsbHostContext;
  readonly view: UsbView;
  readonly models: DeviceModels;
  readonly attachments: Attachments;
  readonly remains: UsbRemains;
  /** As `UsbUpkeepParts.cares`: what a domain of others seems to have is not questioned. */
  cares(uuid: VmUuid | undefined): boolean;
}

/** Why nothing is known of what the device model alone knows. */
export const SILENT = 'its device model does not answer';

/** The domain that is acted on, as it was seen. */
export interface Target {
  readonly domain: UsbDomain;
  readonly nodes: DomainNodes;
  readonly model: ModelHold;
}

/**
 * Gives the controller of a slot. @throws Fault `usb.port_not_found`, `usb.software_unsupported`; `usb.port_busy` when a
 * device at another controller keeps the port from being used
 */
export function controllerOf(nodes: DomainNodes, slot: UsbSlot, device: UsbDevice, vm: string): ControllerState {
  const controller = nodes.controllers.find(({ index }) => index === slot.controller);
  const why = controller && whyUnusable(controller);
  const port = formatSlot(slot);
  if (controller === undefined || slot.port < 1 || slot.port > controller.ports || why !== undefined) {
    const hint = why === undefined ? undefined : `Of controller ${slot.controller}: ${why}.`;
    throw new Fault('usb.port_not_found', { vm, port }, { hint });
  }
  if (device.software !== undefined && controller.type !== 'devicemodel') {
    const what = 'a PV controller carries devices of the host only, and none that is emulated';
    throw new Fault('usb.software_unsupported', { vm, what });
  }
  const rival = rivalOf(nodes, slot);
  if (rival !== undefined) {
    const other = `dom0:${rival.busid}, at port ${formatSlot(rival.slot)}`;
    const hint = 'A port number is of use on one PV controller of a VM only: its device model would die.';
    throw new Fault('usb.port_busy', { vm, port, other }, { hint });
  }
  return controller;
}

export class UsbClaims {
  readonly #parts: UsbClaimsParts;

  constructor(parts: UsbClaimsParts) {
    this.#parts = parts;
  }

  /** Makes way for the device within its domain. @throws Fault `usb.port_busy`, `usb.attached`, `usb.software_unsupported` */
  async makeWay({ domain, nodes, model }: Target, slot: UsbSlot, device: UsbDevice, waiting: Waiting): Promise<void> {
    const key = deviceKey(device);
    const { name: vm } = domain;
    if (device.software !== undefined && !model.isOurs) {
      throw new Fault('usb.software_unsupported', { vm, what: 'it was not started by Usher' });
    }
    const [host, software] = await Promise.all([
      this.#parts.attachments.read(nodes, model, () => false),
      this.softwareOf({ domain, nodes, model }, waiting),
    ]);
    for (const there of [...host, ...software]) {
      if (formatSlot(there) !== formatSlot(slot) && deviceKey(there) !== key) continue;
      if (this.#isGone(there)) {
        const controller = nodes.controllers.find(({ index }) => index === there.controller);
        if (controller) await detachHostDevice(this.#parts.context, domain, { controller, model }, there, waiting);
      } else if (deviceKey(there) === key) throw new Fault('usb.attached', { device: key, vm });
      else throw new Fault('usb.port_busy', { port: formatSlot(slot), vm, other: deviceKey(there) });
    }
  }

  /** Makes way for the device in other domains: what one of them has is not taken from it. @throws Fault `usb.attached` */
  async makeWayElsewhere({ domid }: UsbDomain, device: UsbDevice): Promise<void> {
    for (const holder of this.#parts.view.holdersOf(device.busid)) {
      if (holder.nodes.domid !== domid) await this.#clearOrRefuse(holder, device);
    }
  }

  /** Gives the name of another domain whose port names the device's place, if there is one. */
  rivalOf({ domid }: UsbDomain, device: UsbDevice): string | undefined {
    const other = this.#parts.view.holdersOf(device.busid).find(({ nodes }) => nodes.domid !== domid);
    return other && nameOf(other.nodes);
  }

  /** Tells which software devices the domain has. @throws Fault `hypervisor.lost` */
  async softwareOf({ domain, nodes, model }: Target, waiting: Waiting): Promise<Attachment[]> {
    if (nodes.kind !== 'hvm' || !model.isOurs) return [];
    try {
      return await readSoftwareDevices(model, domain.uuid, waiting);
    } catch (error) {
      if (!model.isAlive) return [];
      throw new Fault('hypervisor.lost', { vm: domain.name, what: SILENT }, { cause: error });
    }
  }

  /** Whether it is an attachment of something that is not there: lost, or of a plug that has ended. */
  #isGone({ backend, busid, generation }: Attachment): boolean {
    if (backend !== HOST_BACKEND) return false;
    return generation === LOST_GENERATION || this.#parts.context.hosts.plugAt(busid)?.generation !== generation;
  }

  /** A port that only says that it has the device is emptied. */
  async #clearOrRefuse({ nodes, isHusk, ...slot }: Holder, device: UsbDevice): Promise<void> {
    const { context, models, remains, cares } = this.#parts;
    const { uuid } = nodes;
    if (!cares(uuid)) throw new Fault('usb.attached', { device: deviceKey(device), vm: nameOf(nodes) });
    const controller = nodes.controllers.find(({ index }) => index === slot.controller);
    if (controller === undefined) return;
    if (uuid === undefined || !(await told(context.xenstore.isDomainIntroduced(nodes.domid)))) {
      await remains.clear(nodes);
      return;
    }
    const plug = context.hosts.plugAt(device.busid);
    const model = models.holdOf(nodes);
    if (!isHusk && (model === undefined || plug === undefined || model.holds(plug.node))) {
      throw new Fault('usb.attached', { device: deviceKey(device), vm: nameOf(nodes) });
    }
    context.log.warn('a port of another domain names a device that it does not have; it is emptied', {
      vm: nameOf(nodes),
      port: formatSlot(slot),
      device: device.busid,
    });
    const { controller: index, port } = slot;
    const place = { vm: uuid, controller: index, port, backend: HOST_BACKEND, busid: device.busid };
    const lost: Attachment = { ...place, deviceId: '', generation: LOST_GENERATION };
    await detachHostDevice(context, domainOf(nodes, uuid), { controller, model }, lost, {});
  }
}

/** Gives a domain that was seen in the form in which it is acted on. */
export function domainOf(nodes: DomainNodes, uuid: VmUuid): UsbDomain {
  return { domid: nodes.domid, uuid, name: nameOf(nodes) };
}

function nameOf({ untrustedName }: DomainNodes): string {
  return printable(untrustedName, 63);
}
