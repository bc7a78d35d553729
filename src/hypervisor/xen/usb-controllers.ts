/** Virtual USB controllers of a domain: which of them devices can be attached to, and how one more is made. */
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import { PV_CONTROLLER_SPEEDS, type UsbSlot, type UsbSpeed, XEN_EMULATED_SPEEDS } from '../../model/usb.ts';
import type { Controller, Waiting } from '../driver.ts';
import type { ControllerState, DomainNodes } from './domain-nodes.ts';
import { XENBUS_STATE } from './nodes.ts';
import type { UsbDomain } from './usb-ports.ts';
import type { Xl } from './xl.ts';

/** What is taken for more does not serve anybody, and each costs its ports' nodes. */
export const MAX_CONTROLLERS = 16;
/** `USBIF_MAX_PORTNR`: one that is made on demand has them all, for the numbers that others have are of no use. */
const MAX_PV_PORTS = 31;
const EMULATED_PORTS = 8;
const ADD_TIMEOUT_MS = 30_000;
const SEEN_TIMEOUT_MS = 5_000;
const SEEN_POLL_MS = 20;

/**
 * Tells why no device can be attached to a controller; `undefined` when one can. A guest that has not come to its driver
 * yet is no obstacle: it finds the devices when it does.
 */
export function whyUnusable({ type, version, backendState, isHusk }: ControllerState): string | undefined {
  if (isHusk)
    return 'its device model has died, and the guest cannot let go of it: it is of no use until the VM is started anew';
  if (type === 'pv') return 'its backend is a kernel driver (usbback), which Usher does not use';
  if (type === 'devicemodel') return undefined;
  if (version === 3) return 'a PV controller of version 3 is unknown';
  if (backendState === undefined) return 'it has no backend';
  if (backendState >= XENBUS_STATE.initialising && backendState <= XENBUS_STATE.connected) return undefined;
  return `its backend is in state ${backendState}: the guest, or its driver, has let go of it`;
}

/** Gives the controllers that devices can be attached to, sorted by number. */
export function usableControllers({ controllers }: DomainNodes): Controller[] {
  return controllers
    .filter((controller) => whyUnusable(controller) === undefined)
    .map(({ index, type, version, ports }) => ({
      ...{ index, version, ports, speeds: speedsOf(type, version) },
      ...(type === 'qusb' ? { sharesPortNumbers: true } : {}),
    }))
    .sort((a, b) => a.index - b.index);
}

/**
 * Tells whether the domain can be given one more that is of use: its device model is there (xl starts none for it), and
 * there is room. A PV controller with every port number leaves none for another.
 */
export function canAdd(nodes: DomainNodes): boolean {
  const { kind, controllers } = nodes;
  if (kind === undefined || controllers.length >= MAX_CONTROLLERS) return false;
  return (
    kind === 'hvm' || !usableControllers(nodes).some(({ version, ports }) => version === 2 && ports === MAX_PV_PORTS)
  );
}

/**
 * Tells which device of the domain keeps a port from being used: one at the port of the same number of another PV
 * controller. QEMU names the state of both the same and aborts (migration/savevm.c; 7.2).
 */
export function rivalOf(
  { controllers }: DomainNodes,
  slot: UsbSlot,
): { readonly slot: UsbSlot; readonly busid: string } | undefined {
  const isPv = (index: number) => controllers.some((other) => other.index === index && other.type === 'qusb');
  if (!isPv(slot.controller)) return undefined;
  for (const { index, slots, isHusk } of controllers) {
    const value = slots[slot.port - 1]?.value;
    if (index === slot.controller || isHusk || !isPv(index) || value?.is !== 'busid') continue;
    return { slot: { controller: index, port: slot.port }, busid: value.busid };
  }
  return undefined;
}

/**
 * Gives the domain one more controller, with the next free number, for devices of every speed.
 * @throws Fault `usb.controller_failed`, `aborted`
 */
export async function makeController(
  {
    xl,
    clock,
    look,
  }: { readonly xl: Xl; readonly clock: Clock; look(domid: number): Promise<DomainNodes | undefined> },
  domain: UsbDomain,
  before: DomainNodes,
  waiting: Waiting = {},
): Promise<Controller> {
  const { domid, name: vm } = domain;
  const made =
    before.kind === 'hvm'
      ? ['type=devicemodel', 'version=3', `ports=${EMULATED_PORTS}`]
      : ['type=qusb', 'version=2', `ports=${MAX_PV_PORTS}`];
  const known = new Set(before.controllers.map(({ index }) => index));
  try {
    await xl.run(['usbctrl-attach', String(domid), ...made], {
      ...waiting,
      what: `One more USB controller for VM ${vm}`,
      timeoutMs: ADD_TIMEOUT_MS,
      isStrict: true,
    });
    const options = { what: 'The new controller', timeoutMs: SEEN_TIMEOUT_MS, everyMs: SEEN_POLL_MS, clock };
    return await pollUntil({ ...options, ...waiting }, async () => {
      const nodes = await look(domid);
      return nodes && usableControllers(nodes).find(({ index }) => !known.has(index));
    });
  } catch (error) {
    if (isFault(error, 'aborted')) throw error;
    throw new Fault('usb.controller_failed', { vm, what: reasonOf(error, 'hypervisor.failed') }, { cause: error });
  }
}

function speedsOf(type: ControllerState['type'], version: 1 | 2 | 3): readonly UsbSpeed[] {
  if (type !== 'qusb') return XEN_EMULATED_SPEEDS[version];
  return version === 3 ? [] : PV_CONTROLLER_SPEEDS[version];
}
