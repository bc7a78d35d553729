/**
 * A thousand VMs for the benchmarks: a simulated world in a process of its own, a home whose inventory has its VMs, and
 * assignments that send each device of the world to a VM.
 */
import { join } from 'node:path';
import type { Client } from '../../src/api/client.ts';
import { populationConfig, populationDevice } from '../../src/hypervisor/simulator/population.ts';
import { WorldClient } from '../../src/hypervisor/simulator/world-client.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { startWorld, type WorldProcess } from '../support/sim-world.ts';
import { Home } from './home.ts';

export const FLEET_VMS = 1000;
export const FLEET_DEVICES = 200;

/** Requests under way at once while the inventory is filled. */
const AT_ONCE = 32;

export interface Fleet {
  readonly home: Home;
  readonly world: WorldProcess;
  /** The hand from outside. */
  readonly hand: WorldClient;
  clear(): Promise<void>;
}

/** Makes the fleet and leaves its daemon running, every device where it belongs. Takes some seconds. */
export async function makeFleet(): Promise<Fleet> {
  const home = await Home.make((folder) => ({ USHER_SIMULATOR_WORLD: join(folder, 'world.sock') }));
  const socket = join(home.folder, 'world.sock');
  const world = await startWorld({ socket, vms: FLEET_VMS, devices: FLEET_DEVICES });
  const hand = new WorldClient(socket);
  const fleet = {
    home,
    world,
    hand,
    async clear() {
      await home.remove();
      await hand.close();
      await world.stop();
    },
  };
  try {
    const client = await home.start();
    await inBatches(FLEET_VMS, (i) => client.call('vm.create', { content: configText(populationConfig(i)) }));
    await inBatches(FLEET_DEVICES, (i) => assign(client, i));
    await client.call('usb.reconcile', {});
    await checkAttached(client);
    client.close();
    return fleet;
  } catch (error) {
    await fleet.clear();
    throw error;
  }
}

/** Gives the devices that are attached, as the daemon says. */
export async function attachedDevices(client: Client): Promise<string[]> {
  const devices = await client.call('usb.list', {});
  return devices.filter(({ state }) => state === 'attached').map(({ device }) => device);
}

async function checkAttached(client: Client): Promise<void> {
  const { length } = await attachedDevices(client);
  if (length !== FLEET_DEVICES) throw new Error(`${length} devices of ${FLEET_DEVICES} are attached`);
}

/** Device number `i` belongs to VM number `i`, by what it is and not by where it is plugged. */
async function assign(client: Client, i: number): Promise<void> {
  const { serial } = populationDevice(i);
  await client.call('usb.assign', { vm: `sim-${i}`, device: `0951:1666:${serial}:*`, mode: 'auto' });
}

function configText({ uuid, name, memoryMiB, vcpus }: VmConfig): string {
  return [
    `uuid = ${uuid}`,
    `name = ${name}`,
    'driver = simulator',
    `memory = ${memoryMiB}`,
    `vcpus = ${vcpus}`,
    '',
  ].join('\n');
}

async function inBatches(count: number, work: (i: number) => Promise<unknown>): Promise<void> {
  for (let first = 0; first < count; first += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - first) }, (_, i) => work(first + i)));
  }
}
