/** Which ports of the VMs' controllers are taken, and which one a device gets. One instance serves one plan. */

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
    if (asked !== undefined) {
      const isThere = controllers.some(({ index, ports }) => index === asked.controller && asked.port <= ports);
      const port = formatSlot(asked);
      if (!isThere) return { lacks: 'controller', detail: `VM ${vm.name} has no port ${port}` };
      if (taken.has(port)) return { lacks: 'port', detail: `port ${port} of VM ${vm.name} is taken` };
      taken.add(port);
      return { slot: asked };
    }
    const speeds = speedsOf(device);
    const fitting = speeds.flatMap((speed) => controllers.filter((controller) => controller.speeds.includes(speed)));
    const isLastThere = fitting.some(({ index, ports }) => index === last?.controller && last.port <= ports);
    if (last !== undefined && isLastThere && !taken.has(formatSlot(last))) {
      taken.add(formatSlot(last));
      return { slot: { controller: last.controller, port: last.port } };
    }
    for (const { index, ports } of fitting) {
      for (let port = 1; port <= ports; port++) {
        const slot = { controller: index, port };
        if (taken.has(formatSlot(slot))) continue;
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

/** An emulated device takes the speed of its controller; a real one has the speed that it has. */
function speedsOf(device: UsbDevice): readonly UsbSpeed[] {
  return device.software === undefined ? [device.speed] : SOFTWARE_SPEEDS[device.software.kind];
}
