/**
 * Empties the port node of a device the moment it is unplugged. QEMU's backend of PVUSB dies when it finds out by itself
 * that a device is gone which was attached before others (docs/protocols/pvusb.md): it must be told before it looks. The
 * plan, which says and records what becomes of the attachment, comes after.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { watchFolders } from '../../lib/folder-watch.ts';
import type { Log } from '../../lib/log.ts';
import type { UsbSlot } from '../../model/usb.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { DomainNodes } from './domain-nodes.ts';
import type { HostDevices } from './host-devices.ts';
import { portPath } from './nodes.ts';
import { takenPorts } from './usb-view.ts';

export interface UsbReflexParts {
  readonly xenstore: Pick<XenstoreClient, 'write'>;
  readonly hosts: HostDevices;
  readonly log: Log;
  /** `/dev/bus/usb`, or a folder that looks like it. */
  readonly usbfsRoot: string;
}

/** A port of a PV controller, and the node of the plug that it had when its node was written. */
interface Guarded extends UsbSlot {
  readonly domid: number;
  readonly busid: string;
  readonly node: string;
}

/**
 * INVARIANTS:
 * - A port is emptied only when the node of its plug has vanished, and only while it names that plug as far as watches have
 *   told: who writes another busid is followed within a millisecond.
 * - It acts on every domain of the host, and decides nothing: notes stay.
 */
export class UsbReflex {
  readonly #parts: UsbReflexParts;
  readonly #guarded = new Map<string, Guarded>();
  #stop: () => void = () => undefined;

  constructor(parts: UsbReflexParts) {
    this.#parts = parts;
  }

  open(): void {
    this.#stop = watchFolders(this.#parts.usbfsRoot, (folder, name) => {
      const isBus = folder === this.#parts.usbfsRoot;
      this.#look(isBus || name === undefined ? undefined : join(folder, name));
    });
  }

  close(): void {
    this.#stop();
  }

  /** Takes note of what a domain's ports hold now. A plug that came to a busid that is named already is not guarded. */
  follow(before: DomainNodes | undefined, after: DomainNodes | undefined): void {
    const kept = new Set<string>();
    for (const { controller, slot, busid } of after === undefined ? [] : takenPorts(after)) {
      if (after === undefined || controller.type !== 'qusb') continue;
      const place = { domid: after.domid, controller: controller.index, port: slot.port };
      const key = keyOf(place, busid);
      kept.add(key);
      const plug = this.#guarded.has(key) ? undefined : this.#parts.hosts.plugAt(busid);
      if (plug !== undefined) this.#guarded.set(key, { ...place, busid, node: plug.node });
    }
    const domid = (before ?? after)?.domid;
    for (const [key, guarded] of this.#guarded) {
      if (guarded.domid === domid && !kept.has(key)) this.#guarded.delete(key);
    }
  }

  /** Without a node, a whole bus may have come or gone. */
  #look(node: string | undefined): void {
    for (const [key, guarded] of this.#guarded) {
      if ((node !== undefined && guarded.node !== node) || existsSync(guarded.node)) continue;
      this.#guarded.delete(key);
      void this.#empty(guarded);
    }
  }

  /** One request, without a question before it: each round trip is one more chance for QEMU to look first. */
  async #empty({ domid, busid, ...slot }: Guarded): Promise<void> {
    const fields = { domid, controller: slot.controller, port: slot.port, busid };
    try {
      await this.#parts.xenstore.write(portPath('qusb', domid, slot), '');
      this.#parts.log.info('a device was unplugged: its port is emptied', fields);
    } catch (error) {
      this.#parts.log.warn('a device was unplugged, and its port could not be emptied', { ...fields, error });
    }
  }
}

function keyOf({ domid, controller, port }: Omit<Guarded, 'busid' | 'node'>, busid: string): string {
  return `${domid}/${controller}/${port} ${busid}`;
}
