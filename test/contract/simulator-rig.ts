/** The simulator's rig for the contract suite, over any port into any world: in this process or in one of its own. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SimulatorDriver } from '../../src/hypervisor/simulator/driver.ts';
import type { GuestAction, GuestState, WorldPort } from '../../src/hypervisor/simulator/world-port.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { newUuid, type VmUuid } from '../../src/model/ids.ts';
import { SOFTWARE_KINDS } from '../../src/model/usb.ts';
import type { GuestHand, Rig } from './rig.ts';
import { makeSoftwareDevice } from './software-device.ts';

export interface SimulatorRigOptions {
  /** Opens a way into the world: one for each driver, one for the hand from outside. */
  openPort(): Promise<WorldPort>;
  readonly clock: Clock;
  elapse(ms: number): Promise<void>;
  /** Ends the world. */
  close(): Promise<void>;
}

const READY_POLL_MS = 10;

export async function makeSimulatorRig(options: SimulatorRigOptions): Promise<Rig> {
  const { openPort, clock, elapse } = options;
  const folder = await mkdtemp(join(tmpdir(), 'usher-contract-'));
  const kernel = join(folder, 'vmlinuz');
  await writeFile(kernel, '');
  const hand = await openPort();
  let made = 0;
  return {
    openDriver: async () => new SimulatorDriver({ port: await openPort(), folder, clock }),
    makeConfig: (changes) => {
      made++;
      return {
        uuid: newUuid(),
        name: `contract-${made}`,
        driver: 'simulator',
        kernel,
        memoryMiB: 128,
        vcpus: 1,
        disks: [],
        startup: { do: 'started' },
        onCrash: 'preserve',
        onHalt: 'preserve',
        onReboot: 'preserve',
        usbControllers: [
          { type: 'auto', version: 3, ports: 8 },
          { type: 'auto', version: 1, ports: 2 },
        ],
        ...changes,
      };
    },
    deviceKinds: SOFTWARE_KINDS,
    makeDevice: async (kind) => {
      made++;
      return makeSoftwareDevice({ kind, busid: `1-${made}`, serial: `S${made}` });
    },
    savesLive: 'at once',
    disks: {
      canSnapshot: true,
      make: async (format) => {
        const path = join(folder, `disk-${++made}.${format}`);
        await writeFile(path, '');
        return { path, format, target: 'vda', isReadOnly: false, kind: 'disk' };
      },
    },
    guest: (uuid) => simulatedGuest(hand, uuid, elapse),
    folder,
    elapse,
    patienceMs: 10_000,
    close: async () => {
      await hand.close();
      await options.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** Makes the hand of one simulated guest; `elapse` lets time pass. */
export function simulatedGuest(port: WorldPort, uuid: VmUuid, elapse: (ms: number) => Promise<void>): GuestHand {
  const act = (action: GuestAction) => port.call('guest', { uuid, action });
  const look = async (): Promise<GuestState> => {
    const state = await act('look');
    if (state === null) throw new Error('the guest is gone');
    return state;
  };
  const command = (action: GuestAction) => async () => {
    await act(action);
  };
  return {
    waitReady: async () => {
      while (!(await look()).isReady) await elapse(READY_POLL_MS);
    },
    bootId: async () => (await look()).bootId,
    ticks: async () => (await look()).ticks,
    usb: async () => (await look()).usb,
    powerOff: command('powerOff'),
    reboot: command('reboot'),
    panic: command('panic'),
    kill: command('kill'),
  };
}
