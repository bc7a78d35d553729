/**
 * What is done about USB on this host without being asked, for every domain that we care for, ours or not: nodes are watched, ports of what
 * was unplugged are emptied, device models are revived, what ended domains leave is given back, changes are hinted at.
 * Wires the parts that do it; usb.ts has the verbs, which work with the same parts.
 */
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { DriverHint } from '../driver.ts';
import { ModelProcesses } from './device-model.ts';
import { launchModel } from './device-model-revival.ts';
import { DeviceModels } from './device-models.ts';
import type { DomainNodes } from './domain-nodes.ts';
import { HostDevices } from './host-devices.ts';
import type { ModelNote } from './nodes.ts';
import { Attachments } from './usb-attachments.ts';
import { domainOf } from './usb-claims.ts';
import { makeController } from './usb-controllers.ts';
import { UsbReflex } from './usb-reflex.ts';
import { UsbRemains } from './usb-remains.ts';
import { UsbView } from './usb-view.ts';
import type { Xl } from './xl.ts';

export interface UsbUpkeepParts {
  readonly xenstore: XenstoreClient;
  readonly xl: Xl;
  readonly clock: Clock;
  readonly log: Log;
  /** `/sys`, `/dev/bus/usb` and `/proc`, or folders that look like them. */
  readonly sysfsRoot: string;
  readonly usbfsRoot: string;
  readonly procRoot?: string;
  readonly bootId: string;
  /** The path of our own QMP socket of a VM; whether there is one is seen. */
  readonly ownQmp: (uuid: VmUuid) => string;
  readonly onHint: (hint: DriverHint) => void;
  /**
   * Whether a domain is ours to do something about unasked, by its VM; without one it is the remains of nobody knows which.
   * What others care for is looked at, and left alone. Default: everything is.
   */
  readonly cares?: (uuid: VmUuid | undefined) => boolean;
  /** Gives the domids of the domains that there are now. Asked before a device model is revived. */
  readonly living: () => Promise<ReadonlySet<number>>;
  /** Starts a device model again. Default: as a process that outlives us. */
  readonly launch?: (note: ModelNote, uuid: VmUuid) => number;
}

/**
 * INVARIANTS:
 * - Of a change the reflex hears first: what is to be guarded is, before anything else is begun about it.
 * - What is remembered of a domain is forgotten when its number is another's, or nobody's.
 */
export class UsbUpkeep {
  readonly hosts: HostDevices;
  readonly view: UsbView;
  readonly models: DeviceModels;
  readonly attachments: Attachments;
  readonly remains: UsbRemains;
  readonly #parts: UsbUpkeepParts;
  readonly #reflex: UsbReflex;
  readonly #cares: (uuid: VmUuid | undefined) => boolean;
  /** Looks that are due, by domid. */
  readonly #due = new Map<number, () => void>();

  private constructor(parts: UsbUpkeepParts) {
    const { xenstore, clock, log, xl } = parts;
    this.#parts = parts;
    this.#cares = parts.cares ?? (() => true);
    this.hosts = new HostDevices(parts);
    const { hosts } = this;
    this.view = new UsbView({ xenstore, clock, log, onChange: (before, after) => this.#changed(before, after) });
    const look = (domid: number) => this.view.refresh(domid);
    this.#reflex = new UsbReflex({ xenstore, hosts, log, usbfsRoot: parts.usbfsRoot });
    this.models = new DeviceModels({
      ...{ xenstore, hosts, clock, log, look, cares: this.#cares },
      processes: new ModelProcesses(parts.procRoot),
      launch: parts.launch ?? launchModel,
      ownQmp: parts.ownQmp,
      libxlQmp: (domid) => `/run/xen/qmp-libxl-${domid}`,
      living: parts.living,
      addController: async (nodes, waiting) => {
        const { uuid } = nodes;
        if (uuid !== undefined) await makeController({ xl, clock, look }, domainOf(nodes, uuid), nodes, waiting);
      },
      onChange: (domid) => this.#hint(this.view.domains.get(domid)),
    });
    this.attachments = new Attachments({
      ...{ hosts, clock },
      lookAgain: (domid, afterMs) => this.#lookAgain(domid, afterMs),
    });
    this.remains = new UsbRemains({ xenstore, hosts, clock, log, look });
  }

  /** Looks at the USB of every domain, and watches it from then on. @throws as reading xenstore does */
  static async open(parts: UsbUpkeepParts): Promise<UsbUpkeep> {
    const upkeep = new UsbUpkeep(parts);
    try {
      upkeep.#reflex.open();
      await upkeep.view.open();
      for (const nodes of upkeep.view.domains.values()) {
        if (!upkeep.#cares(nodes.uuid)) continue;
        if (nodes.uuid === undefined) await upkeep.remains.clear(nodes);
        else upkeep.models.holdOf(nodes);
      }
      return upkeep;
    } catch (error) {
      await upkeep.close();
      throw error;
    }
  }

  /** Lets go of everything; devices stay where they are. */
  async close(): Promise<void> {
    this.#reflex.close();
    this.view.close();
    for (const cancel of this.#due.values()) cancel();
    this.#due.clear();
    await this.models.close();
    await this.remains.close();
  }

  #changed(before: DomainNodes | undefined, after: DomainNodes | undefined): void {
    const cared = (nodes: DomainNodes | undefined) =>
      nodes !== undefined && this.#cares(nodes.uuid) ? nodes : undefined;
    [before, after] = [cared(before), cared(after)];
    if (before === undefined && after === undefined) return;
    this.#reflex.follow(before, after);
    if (before?.uuid !== undefined && before.uuid !== after?.uuid) {
      this.remains.giveBack(before, this.models.forget(before.domid));
      this.attachments.forget(before.domid);
    }
    this.#hint(after ?? before);
    if (after !== undefined) this.models.holdOf(after);
  }

  #hint(nodes: DomainNodes | undefined): void {
    if (nodes?.uuid !== undefined) this.#parts.onHint({ about: 'usb', uuid: nodes.uuid });
  }

  #lookAgain(domid: number, afterMs: number): void {
    if (this.#due.has(domid)) return;
    const cancel = this.#parts.clock.after(afterMs, () => {
      this.#due.delete(domid);
      this.#hint(this.view.domains.get(domid));
    });
    this.#due.set(domid, cancel);
  }
}
