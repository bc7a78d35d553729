/**
 * What domains leave behind that are gone: devices without a driver, and nodes, which block every `xl usbdev-attach` of
 * the host.
 */
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import type { Log } from '../../lib/log.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { ModelHold } from './device-model-hold.ts';
import type { DomainNodes } from './domain-nodes.ts';
import type { HostDevices } from './host-devices.ts';
import { controllersPath, QUSB_ROOT } from './nodes.ts';
import { told } from './usb-ports.ts';
import { takenPorts } from './usb-view.ts';

export interface UsbRemainsParts {
  readonly xenstore: Pick<XenstoreClient, 'rm' | 'isDomainIntroduced'>;
  readonly hosts: HostDevices;
  readonly clock: Clock;
  readonly log: Log;
  look(domid: number): Promise<DomainNodes | undefined>;
}

/** An ended domain's device model lets go of its devices within this, or is killed by libxl. */
const LETTING_GO_MS = 5_000;
const LETTING_GO_POLL_MS = 20;

export class UsbRemains {
  readonly #parts: UsbRemainsParts;
  /** By domid: devices that are given back as soon as their device model has ended. */
  readonly #ending = new Map<number, Promise<void>>();

  constructor(parts: UsbRemainsParts) {
    this.#parts = parts;
  }

  /** Gives back what a domain had that is gone, once its device model is. Nobody waits for it unless by `settled`. */
  giveBack(nodes: DomainNodes, model: ModelHold | undefined): void {
    const { domid } = nodes;
    const busids = takenPorts(nodes).map(({ busid }) => busid);
    if (busids.length === 0) return;
    const before = this.#ending.get(domid) ?? Promise.resolve();
    const work = before
      .then(() => this.#giveBack(busids, model))
      .catch((error: unknown) => {
        this.#parts.log.warn('devices of a domain that is gone may lack their drivers', { domid, busids, error });
      })
      .finally(() => {
        if (this.#ending.get(domid) === work) this.#ending.delete(domid);
      });
    this.#ending.set(domid, work);
  }

  /** Clears the nodes of a domain that is gone; of one that is there, nothing. @throws Fault `hypervisor.failed` */
  async clear(nodes: DomainNodes): Promise<void> {
    const { xenstore, log, look } = this.#parts;
    const { domid } = nodes;
    if (await told(xenstore.isDomainIntroduced(domid))) return;
    log.warn('a domain that is gone has left USB nodes; they are cleared', { domid });
    for (const path of [`${QUSB_ROOT}/${domid}`, controllersPath(domid)]) await told(xenstore.rm(path));
    this.giveBack(nodes, undefined);
    await told(look(domid));
  }

  /** Waits until all is given back that a domain had. */
  async settled(domid: number): Promise<void> {
    await this.#ending.get(domid);
  }

  /** Waits until nothing is under way. */
  async close(): Promise<void> {
    await Promise.all(this.#ending.values());
  }

  async #giveBack(busids: readonly string[], model: ModelHold | undefined): Promise<void> {
    const { hosts, clock } = this.#parts;
    const options = { timeoutMs: LETTING_GO_MS, everyMs: LETTING_GO_POLL_MS, clock };
    await pollUntil({ ...options, what: 'The end of a device model' }, () => (model?.isAlive ? undefined : true));
    for (const busid of busids) await hosts.giveBack(busid);
  }
}
