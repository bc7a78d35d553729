/** Which ports of the VMs' controllers are taken, and which one a device gets. One instance serves one plan. */

import type { Controller } from '../hypervisor/driver.ts';
import type { VmUuid } from '../model/ids.ts';
import { formatSlot, SOFTWARE_SPEEDS, type UsbDevice, type UsbSlot, type UsbSpeed } from '../model/usb.ts';
import type { Memory, ObservedVm } from './plan-types.ts';

export type PortChoice =
  | { readonly slot: UsbSlot }
  | { readonly lacks: 'controller' | 'port'; readonly detail: string };

/** INVARIANTS: no port is given out twice, nor one that an attachment, a step under way or this plan has. */
export class Ports {
  readonly #taken = new Map<VmUuid, Set<string>>();

  constructor(memory: Memory) {
    for (const { inFlight } of memory.values()) {
      if (inFlight?.kind === 'attach') this.#of(inFlight.vm).add(formatSlot(inFlight.slot));
      if (inFlight?.kind === 'detach') this.#of(inFlight.vm).add(formatSlot(inFlight.attachment));
    }
  }

  /**
   * Takes a port for the device: the one asked for, else the one that it had last if that is free, else the first free one of the first controller that runs it at its
   * own speed, else of one that runs it more slowly.
   */
  take(
    vm: ObservedVm,
    device: UsbDevice,
    { asked, last }: { readonly asked?: UsbSlot | undefined; readonly last?: UsbSlot | undefined } = {},
  ): PortChoice {
    const controllers = [...(vm.domain?.controllers ?? [])].sort((a, b) => a.index - b.index);
    const taken = this.#of(vm.uuid);
    for (const attachment of vm.domain?.attachments ?? []) taken.add(formatSlot(attachment));
    const isTaken = (slot: UsbSlot) =>
      [slot, ...sameNumbers(controllers, slot)].map(formatSlot).some((other) => taken.has(other));
    if (asked !== undefined) {
      const isThere = controllers.some(({ index, ports }) => index === asked.controller && asked.port <= ports);
      const port = formatSlot(asked);
      if (!isThere) return { lacks: 'controller', detail: `VM ${vm.name} has no port ${port}` };
      if (taken.has(port)) return { lacks: 'port', detail: `port ${port} of VM ${vm.name} is taken` };
      if (isTaken(asked)) {
        const detail = `port ${port} of VM ${vm.name} is of no use while another controller has a device at its port ${asked.port}`;
        return { lacks: 'port', detail };
      }
      taken.add(port);
      return { slot: asked };
    }
    const speeds = speedsOf(device);
    const fitting = speeds.flatMap((speed) => controllers.filter((controller) => controller.speeds.includes(speed)));
    const isLastThere = fitting.some(({ index, ports }) => index === last?.controller && last.port <= ports);
    if (last !== undefined && isLastThere && !isTaken(last)) {
      taken.add(formatSlot(last));
      return { slot: { controller: last.controller, port: last.port } };
    }
    for (const { index, ports } of fitting) {
      for (let port = 1; port <= ports; port++) {
        const slot = { controller: index, port };
        if (isTaken(slot)) continue;
        taken.add(formatSlot(slot));
        return { slot };
      }
    }
    if (fitting.length > 0) return { lacks: 'port', detail: `VM ${vm.name} has no free port for it` };
    const speed = `a ${device.speed}-speed device`;
    if (controllers.length === 0) return { lacks: 'controller', detail: `VM ${vm.name} has no USB controller` };
    return { lacks: 'controller', detail: `VM ${vm.name} has no USB controller for ${speed}` };
  }

  #of(vm: VmUuid): Set<string> {
    const taken = this.#taken.get(vm) ?? new Set();
    this.#taken.set(vm, taken);
    return taken;
  }
}

/** Gives the ports that have the same number on other controllers, when that matters. */
function sameNumbers(controllers: readonly Controller[], { controller, port }: UsbSlot): UsbSlot[] {
  const sharing = controllers.filter(({ sharesPortNumbers }) => sharesPortNumbers === true);
  if (!sharing.some(({ index }) => index === controller)) return [];
  return sharing.map(({ index }) => ({ controller: index, port }));
}

/** An emulated device takes the speed of its controller; a real one has the speed that it has. */
function speedsOf(device: UsbDevice): readonly UsbSpeed[] {
  return device.software === undefined ? [device.speed] : SOFTWARE_SPEEDS[device.software.kind];
}
