/**
 * What this host does with a USB device now, so that nobody takes it unawares. Only what a kernel driver of the host makes
 * of it counts: a device that a guest or a program has by usbfs is in no use here. What is not seen is said in
 * storage-state.ts and network-uses.ts. Needs no privileges.
 */
import type { Clock } from '../lib/clock.ts';
import { withDeadline } from '../lib/deadline.ts';
import type { HostUse } from '../model/host-use.ts';
import type { UsbDevice } from '../model/usb.ts';
import type { HostRoots } from './host-files.ts';
import { type HostInput, readHostInputs } from './host-inputs.ts';
import { type NetInterface, readNetwork, usesOfNetwork } from './network-uses.ts';
import { readStorage } from './storage-state.ts';
import { type StorageState, usesOfStorage } from './storage-uses.ts';

/** One look at the host, out of which the uses of every device can be told. */
export interface HostState {
  readonly storage: StorageState;
  readonly network: readonly NetInterface[];
  readonly inputs: readonly HostInput[];
}

export interface LookOptions {
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
}

/** None of it waits for a device; but a kernel in trouble may not answer at all. */
const LOOK_TIMEOUT_MS = 20_000;

/** Looks at the host. @throws Fault `file.unreadable`, `timeout`, `aborted` */
export function readHostState(roots: HostRoots, options: LookOptions = {}): Promise<HostState> {
  return withDeadline({ what: 'Looking at what the host uses', timeoutMs: LOOK_TIMEOUT_MS, ...options }, async () => {
    const [storage, network, inputs] = await Promise.all([
      readStorage(roots),
      readNetwork(roots),
      readHostInputs(roots),
    ]);
    return { storage, network, inputs };
  });
}

/** Tells all uses of the device at a busid, the gravest first. Pure. */
export function usesOf({ storage, network, inputs }: HostState, busid: string): HostUse[] {
  return [...usesOfStorage(storage, busid), ...usesOfNetwork(network, busid), ...usesOfInputs(inputs, busid)];
}

/** Looks at the host for one device. @throws Fault `file.unreadable`, `timeout`, `aborted` */
export async function readUses(
  roots: HostRoots,
  { busid }: Pick<UsbDevice, 'busid'>,
  options: LookOptions = {},
): Promise<readonly HostUse[]> {
  return usesOf(await readHostState(roots, options), busid);
}

function usesOfInputs(inputs: readonly HostInput[], busid: string): HostUse[] {
  const own = inputs.filter(({ busids, isReady }) => isReady && busids.includes(busid));
  const uses = own.flatMap(({ kinds, bus, name }) =>
    kinds.map((kind): HostUse => {
      const what = bus === 'bluetooth' ? `a ${kind} works through it, ${name}` : `it is a ${kind}, ${name}`;
      return { kind, detail: what };
    }),
  );
  return uses.filter(({ detail }, at) => uses.findIndex((other) => other.detail === detail) === at);
}
