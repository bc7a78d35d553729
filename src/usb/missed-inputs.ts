/**
 * Knows which devices that VMs have would be a keyboard or a pointing device to a person of this host, so that they are
 * missed when the host has no other. What keeps the last one on the host is in last-inputs.ts.
 */
import { plainName } from '../lib/text.ts';
import { claimedInputs, INPUT_KINDS, type InputKind } from '../model/input-claims.ts';
import type { UsbDevice } from '../model/usb.ts';
import type { HostInput } from './host-inputs.ts';
import { type InputSettings, isNobodys, sparesOf } from './last-inputs.ts';

interface Seen {
  readonly generation: string;
  readonly kinds: readonly InputKind[];
}

/** INVARIANTS: what was seen is of one plug; a device that the host has is never missed. */
export class MissedInputs {
  readonly #settings: InputSettings;
  readonly #seen = new Map<string, Seen>();

  constructor(settings: InputSettings = {}) {
    this.#settings = settings;
  }

  /** Keeps what the host made of each of the devices; forgets those that are gone. */
  note(devices: readonly UsbDevice[], inputs: readonly HostInput[]): void {
    const generations = new Map(devices.map(({ busid, generation }) => [busid, generation]));
    for (const [busid, { generation }] of this.#seen) {
      if (generations.get(busid) !== generation) this.#seen.delete(busid);
    }
    for (const [busid, generation] of generations) {
      const own = inputs.filter(({ isReady, busids }) => isReady && busids.includes(busid));
      if (own.length === 0) continue;
      const kinds = own.filter((input) => !isNobodys(input, this.#settings)).flatMap((input) => input.kinds);
      this.#seen.set(busid, { generation, kinds: INPUT_KINDS.filter((kind) => kinds.includes(kind)) });
    }
  }

  /** Gives the kinds that a device would be to a person, of which the host has none that counts. */
  missed(device: UsbDevice, inputs: readonly HostInput[]): readonly InputKind[] {
    if (inputs.some(({ busids }) => busids.includes(device.busid))) return [];
    return this.#kindsOf(device).filter((kind) => sparesOf(inputs, kind, this.#settings).length === 0);
  }

  /** What the host made of it before a VM had it; of what it never had, what the device says of itself. */
  #kindsOf(device: UsbDevice): readonly InputKind[] {
    const seen = this.#seen.get(device.busid);
    if (seen?.generation === device.generation) return seen.kinds;
    return isNobodysDevice(device, this.#settings) ? [] : claimedInputs(device.interfaces).certain;
  }
}

/** Tells whether a device is nobody's, by what it says of itself. */
export function isNobodysDevice({ vendorId, untrustedProduct = '' }: UsbDevice, settings: InputSettings = {}): boolean {
  return isNobodys({ name: plainName(untrustedProduct), phys: '', vendorId }, settings);
}
