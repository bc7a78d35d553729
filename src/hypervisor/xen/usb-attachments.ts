/**
 * Tells what is attached to a domain: port node and note say what is meant, sysfs says what is plugged, and the device
 * model's open files say what it has. Only what all of them agree on is called attached.
 */
import type { Clock } from '../../lib/clock.ts';
import { HOST_BACKEND } from '../../model/ids.ts';
import { type Attachment, formatSlot, type UsbSlot } from '../../model/usb.ts';
import { LOST_GENERATION } from '../host-device.ts';
import type { ControllerState, DomainNodes, PortNodes } from './domain-nodes.ts';
import type { HostDevices, Plug } from './host-devices.ts';

export interface AttachmentsParts {
  readonly hosts: Pick<HostDevices, 'plugAt' | 'deviceIdAt' | 'gripsOn'>;
  readonly clock: Clock;
  /** Asks for another look at the domain after so many milliseconds: what is in doubt now is certain then. */
  lookAgain(domid: number, afterMs: number): void;
}

/** What of the device model is asked: whether it has a node open. */
export interface Holding {
  holds(node: string): boolean;
}

/** Between the node that others write and the moment that the device model has the device. */
const TAKING_MS = 2_000;
/** A guest that sets a configuration, or resets a device, leaves it without a driver for less. */
const BARE_MS = 3_000;

/**
 * INVARIANTS: what is remembered of a port is about one plug, and only says since when something is in doubt and whether
 * the guest has ever had the device: forgetting it costs a delay, never an untruth.
 */
export class Attachments {
  readonly #parts: AttachmentsParts;
  /** By port and plug: when it was first seen to be amiss (monotonic ms). */
  readonly #doubts = new Map<string, number>();
  /** Ports and plugs that a guest has configured. */
  readonly #configured = new Set<string>();

  constructor(parts: AttachmentsParts) {
    this.#parts = parts;
  }

  /** Tells what is attached, but for ports that `isBusy` says are being worked on: there the nodes are believed. */
  async read(nodes: DomainNodes, model: Holding, isBusy: (slot: UsbSlot) => boolean): Promise<Attachment[]> {
    const told: Attachment[] = [];
    for (const controller of nodes.controllers) {
      if (controller.isHusk) continue;
      for (const port of controller.slots) {
        const attachment = await this.#readPort(nodes, controller, port, model, isBusy);
        if (attachment !== undefined) told.push(attachment);
      }
    }
    return told.sort((a, b) => a.controller - b.controller || a.port - b.port);
  }

  /** Gives the notes on devices that are plugged still and in no port any more. */
  leftNotes({ controllers }: DomainNodes): UsbSlot[] {
    return controllers.flatMap(({ index, slots }) =>
      slots.flatMap(({ port, value, note }) => {
        const isLeft = value.is === 'free' && note !== undefined && this.#isPlugged(note);
        return isLeft ? { controller: index, port } : [];
      }),
    );
  }

  /** Forgets what was remembered of a domain, or of one port of it. */
  forget(domid: number, slot?: UsbSlot): void {
    const prefix = slot === undefined ? `${domid} ` : `${domid} ${formatSlot(slot)} `;
    for (const key of [...this.#doubts.keys(), ...this.#configured]) {
      if (!key.startsWith(prefix)) continue;
      this.#doubts.delete(key);
      this.#configured.delete(key);
    }
  }

  async #readPort(
    { domid, uuid }: DomainNodes,
    { index }: ControllerState,
    { port, value, note }: PortNodes,
    model: Holding,
    isBusy: (slot: UsbSlot) => boolean,
  ): Promise<Attachment | undefined> {
    if (uuid === undefined || value.is === 'nonsense') return undefined;
    const slot = { controller: index, port };
    const place = { vm: uuid, ...slot, backend: HOST_BACKEND };
    if (value.is === 'free') {
      this.forget(domid, slot);
      // The reflex has emptied the port; what is said of the device is up to the plan.
      return note === undefined || this.#isPlugged(note) ? undefined : { ...place, ...note };
    }
    const { busid } = value;
    const plug = this.#parts.hosts.plugAt(busid);
    if (note?.busid === busid) {
      const { generation, deviceId } = note;
      const isThere = plug?.generation !== generation || isBusy(slot) || this.#isHeld(domid, slot, plug, model);
      return { ...place, busid, deviceId, generation: isThere ? generation : LOST_GENERATION };
    }
    const deviceId = plug && (await this.#parts.hosts.deviceIdAt(busid));
    if (plug === undefined || deviceId === undefined || !this.#isHeld(domid, slot, plug, model)) {
      return { ...place, busid, deviceId: deviceId ?? '', generation: LOST_GENERATION };
    }
    return { ...place, busid, deviceId, generation: plug.generation, isForeign: true };
  }

  #isPlugged({ busid, generation }: { readonly busid: string; readonly generation: string }): boolean {
    return this.#parts.hosts.plugAt(busid)?.generation === generation;
  }

  /** Tells whether the device model has the plug, and the guest keeps what it once had; a doubt takes its time. */
  #isHeld(domid: number, slot: UsbSlot, plug: Plug, model: Holding): boolean {
    const key = `${domid} ${formatSlot(slot)} ${plug.generation}`;
    if (!model.holds(plug.node)) return this.#doubt(domid, `${key} open`, TAKING_MS);
    this.#doubts.delete(`${key} open`);
    const grips = [...this.#parts.hosts.gripsOn(plug.busid).values()];
    if (grips.includes('program')) this.#configured.add(key);
    else if (this.#configured.has(key)) return this.#doubt(domid, `${key} bare`, BARE_MS);
    this.#doubts.delete(`${key} bare`);
    return true;
  }

  /** Gives the benefit of the doubt for so long. */
  #doubt(domid: number, key: string, limitMs: number): boolean {
    const now = this.#parts.clock.monotonic();
    const since = this.#doubts.get(key) ?? now;
    this.#doubts.set(key, since);
    const leftMs = since + limitMs - now;
    if (leftMs > 0) this.#parts.lookAgain(domid, leftMs);
    return leftMs > 0;
  }
}
