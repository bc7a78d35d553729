/** USB in a simulated world: what is plugged, which domain has it, controllers on demand, device models that go. */
import { Fault } from '../../lib/fault.ts';
import { VIRTUAL_BACKEND } from '../../model/ids.ts';
import { type Attachment, deviceKey, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { Controller } from '../driver.ts';
import { HostDevices } from './host-devices.ts';
import { MODEL_GONE, type SimulatedDomain } from './simulated-domain.ts';

/**
 * INVARIANTS: a device is attached to one domain at most (`#owners` says to which); a domain that is gone owns nothing;
 * a dead domain keeps what it has until it is detached or destroyed, as a process that still stands does.
 */
export class SimulatedUsb {
  readonly devices = new HostDevices();
  readonly #owners = new Map<string, SimulatedDomain>();

  /** Gives the domain that has what is plugged there. */
  ownerOf(device: { readonly backend: string; readonly busid: string }): SimulatedDomain | undefined {
    return this.#owners.get(deviceKey(device));
  }

  attach(domain: SimulatedDomain, slot: UsbSlot, device: UsbDevice, isForeign: boolean): Attachment {
    const key = deviceKey(device);
    const refuse = (what: string) => new Fault('usb.attach_failed', { device: key, vm: domain.name, what });
    if (domain.isModelGone) throw refuse(MODEL_GONE);
    const controller = domain.controllerAt(slot);
    if (controller === undefined) throw new Fault('usb.port_not_found', { vm: domain.name, port: formatSlot(slot) });
    const owner = this.#owners.get(key);
    if (owner !== undefined) throw new Fault('usb.attached', { device: key, vm: owner.name });
    const other = domain.at(slot);
    if (other !== undefined) {
      throw new Fault('usb.port_busy', { port: formatSlot(slot), vm: domain.name, other: deviceKey(other) });
    }
    if (domain.run === 'saving') throw refuse('the guest is being saved');
    if (!this.#isPlugged(device)) throw new Fault('usb.device_gone', { device: key });
    // An emulated device speaks at whatever speed its controller has.
    if (device.software === undefined && !controller.speeds.includes(device.speed)) {
      const speeds = controller.speeds.join(', ');
      throw refuse(`it needs ${device.speed} speed and controller ${slot.controller} has ${speeds}`);
    }
    const { backend, busid, deviceId, generation } = device;
    const place = { vm: domain.uuid, controller: slot.controller, port: slot.port };
    const attachment = { ...place, backend, busid, deviceId, generation, ...(isForeign ? { isForeign } : {}) };
    domain.attach(attachment);
    this.#owners.set(key, domain);
    return attachment;
  }

  /** Detaches what is there, if it is this; tells whether it was. */
  detach(domain: SimulatedDomain, attachment: Attachment): boolean {
    if (domain.run === 'saving' && domain.at(attachment) !== undefined) {
      const details = { device: deviceKey(attachment), vm: domain.name, what: 'the guest is being saved' };
      throw new Fault('usb.detach_failed', details);
    }
    if (!domain.detach(attachment)) return false;
    this.#owners.delete(deviceKey(attachment));
    return true;
  }

  /** Lets go of all that a domain has which is no more, or whose device model is. */
  letGo(domain: SimulatedDomain): void {
    for (const attachment of domain.attachments) this.#owners.delete(deviceKey(attachment));
  }

  addController(domain: SimulatedDomain): Controller {
    const refuse = (what: string) => new Fault('usb.controller_failed', { vm: domain.name, what });
    if (domain.isModelGone) throw refuse(MODEL_GONE);
    if (domain.run === 'saving') throw refuse('the guest is being saved');
    const controller = domain.addController();
    if (controller === undefined) throw refuse('it has as many as it can have');
    return controller;
  }

  /** Takes a domain's device model away, or gives it a new one, which has the controllers and nothing attached. */
  setDeviceModel(domain: SimulatedDomain, isGone: boolean): void {
    if (isGone) this.letGo(domain);
    domain.setModelGone(isGone);
  }

  /** What a guest sees: what is attached and still plugged, as `vid:pid:serial`. */
  seenBy(domain: SimulatedDomain): string[] {
    const plugged = [...domain.attachments].filter((attachment) => this.#isPlugged(attachment));
    return plugged.map(({ deviceId }) => guestName(deviceId));
  }

  /** Software devices are always there: their source is elsewhere, the world only records them. */
  #isPlugged(device: { readonly backend: string; readonly busid: string; readonly generation: string }): boolean {
    return device.backend === VIRTUAL_BACKEND || this.devices.has(device);
  }
}

/** `vid:pid:serial` of a device id, as a guest's kernel would print it. */
function guestName(deviceId: string): string {
  const [vendorId, productId, serial = ''] = deviceId.split(':');
  return `${vendorId}:${productId}:${decodeURIComponent(serial)}`;
}
