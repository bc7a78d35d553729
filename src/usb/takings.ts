/**
 * Which devices are not with the host any more while a plan is made: VMs have them, or they are on their way. What the
 * host was seen to have may be older than that, and one plan may take several. Holds no more than one plan.
 */
import { INPUT_KINDS, type InputKind } from '../model/input-claims.ts';
import { deviceKey, type UsbDevice } from '../model/usb.ts';
import type { Survey } from './survey.ts';

/** INVARIANTS: what was seen as a replacement is none any more once it is attached, or an attach of it has begun. */
export class Takings {
  readonly #taken: Set<string>;

  constructor({ attachments, memory }: Pick<Survey, 'attachments' | 'memory'>) {
    const underWay = [...memory].filter(([, { inFlight }]) => inFlight?.kind === 'attach');
    this.#taken = new Set([...attachments.keys(), ...underWay.map(([key]) => key)]);
  }

  /** Counts a device as taken. */
  add(device: UsbDevice): void {
    this.#taken.add(deviceKey(device));
  }

  /** Gives a kind of input of which the host would have nothing left without the device, too. */
  lackWithout({ backend, replacedBy = {} }: UsbDevice): InputKind | undefined {
    const isTaken = (busid: string) => this.#taken.has(deviceKey({ backend, busid }));
    return INPUT_KINDS.find((kind) => replacedBy[kind]?.every((busids) => busids.some(isTaken)));
  }
}
