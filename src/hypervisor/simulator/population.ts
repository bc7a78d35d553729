/** Many simulated VMs and devices at once, the same in every run: for benchmarks and kill tests. */
import { parseUuid, type VmUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { World } from './world.ts';
import type { PlugOptions } from './world-port.ts';

const PORTS_OF_HUB = 7;
const HUBS_OF_BUS = 15;

/** Gives the uuid of VM number `index`, counted from 0. */
export function populationUuid(index: number): VmUuid {
  return parseUuid(`00000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`);
}

/** Gives the config of VM number `index`: `sim-0`, one controller of eight ports. */
export function populationConfig(index: number): VmConfig {
  return {
    uuid: populationUuid(index),
    name: `sim-${index}`,
    driver: 'simulator',
    memoryMiB: 256,
    vcpus: 1,
    disks: [],
    startup: { do: 'started' },
    onCrash: 'restart',
    onHalt: 'destroy',
    onReboot: 'restart',
    usbControllers: [{ type: 'auto', version: 3, ports: 8 }],
  };
}

/** Gives device number `index`, counted from 0: a stick of its own serial behind one of many hubs of dom0. */
export function populationDevice(index: number): PlugOptions {
  const hub = Math.floor(index / PORTS_OF_HUB);
  const bus = 1 + Math.floor(hub / HUBS_OF_BUS);
  return { busid: `${bus}-${1 + (hub % HUBS_OF_BUS)}.${1 + (index % PORTS_OF_HUB)}`, serial: `SIM${index}` };
}

/** Starts the first `vms` VMs and plugs the first `devices` devices. */
export function populate(world: World, counts: { readonly vms: number; readonly devices: number }): void {
  for (let i = 0; i < counts.vms; i++) world.start({ config: populationConfig(i), isPaused: false });
  for (let i = 0; i < counts.devices; i++) world.plug(populationDevice(i));
}
