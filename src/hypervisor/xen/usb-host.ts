/**
 * Attaches devices of dom0 to domains and detaches them, each step waiting for its real completion: on PV and PVH by the
 * port's node, which QEMU obeys; on HVM by QMP, with the node and the id that libxl would use.
 */
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import { failPoint } from '../../lib/fail-point.ts';
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import { type Attachment, deviceKey, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { Waiting } from '../driver.ts';
import { findNode, type HostPlaces } from '../host-device.ts';
import { deviceProperties, removeDevice } from '../qemu/usb-device.ts';
import { attachFault, detachFault } from '../qemu/usb-faults.ts';
import type { ModelHold } from './device-model-hold.ts';
import type { HostDevices } from './host-devices.ts';
import type { ControllerNodes } from './nodes.ts';
import { emptyPort, isInPort, takePort, type UsbDomain } from './usb-ports.ts';

export interface UsbHostContext {
  readonly xenstore: XenstoreClient;
  readonly places: HostPlaces;
  readonly hosts: HostDevices;
  readonly clock: Clock;
  readonly log: Log;
}

/** QEMU opens a device within 100 ms or not at all; a lab without a hardware's speed takes longer. */
const TAKE_TIMEOUT_MS = 5_000;
const RELEASE_TIMEOUT_MS = 10_000;
const POLL_MS = 10;
const PERIPHERALS = '/machine/peripheral';

/**
 * Attaches a device that no domain has: port and note in one transaction, then the wait until the device model has it.
 * When a step fails, those before it are undone. The signal is heeded before the first step.
 *
 * INVARIANTS: nothing else attaches or detaches at this slot meanwhile (usb.ts sees to that). A death of ours after the
 * transaction leaves an attachment that is whole, or one that the device model does not have, which is told as lost.
 */
export async function attachHostDevice(
  context: UsbHostContext,
  domain: UsbDomain,
  { controller, model }: { readonly controller: ControllerNodes; readonly model: ModelHold },
  slot: UsbSlot,
  device: UsbDevice,
  waiting: Waiting,
): Promise<Attachment> {
  const { xenstore, places } = context;
  const node = await findNode(device, places);
  await takePort(xenstore, domain, controller.type, slot, device, waiting);
  try {
    failPoint('xen.attach.after-write');
    if (controller.type === 'devicemodel') await model.withSession((session) => addDevice(session, slot, device, node));
    await untilTaken(context, domain.name, model, device, node);
    failPoint('xen.attach.taken');
    await findNode(device, places);
  } catch (error) {
    await undo(context, domain, { controller, model }, { ...slot, ...device });
    await findNode(device, places); // That it is gone explains whatever else was wrong.
    throw attachFault(heard(error), { vm: domain.name, slot, device });
  }
  const { backend, busid, deviceId, generation } = device;
  return { vm: domain.uuid, controller: slot.controller, port: slot.port, backend, busid, deviceId, generation };
}

/**
 * Detaches what the attachment names, and returns when the device model has let go of it and dom0 has it again. What is
 * not there, or is another device or another plug of it, is left alone. Without a device model only nodes are cleared.
 * @throws Fault `usb.detach_failed`
 */
export async function detachHostDevice(
  context: UsbHostContext,
  domain: UsbDomain,
  { controller, model }: { readonly controller: ControllerNodes; readonly model: ModelHold | undefined },
  attachment: Attachment,
  waiting: Waiting,
): Promise<void> {
  const { xenstore, hosts } = context;
  const { busid } = attachment;
  const plug = hosts.plugAt(busid);
  try {
    // With QMP the node goes last: were we killed in between, the node would still tell of the device.
    if (controller.type === 'devicemodel' && model !== undefined) {
      // QEMU's device says nothing of its plug: what the port says is asked before, for another may be there by now.
      if (!(await isInPort(xenstore, domain, controller.type, attachment, waiting))) return;
      await dropDevice(context, domain, model, attachment);
    }
    const isEmptied = await emptyPort(xenstore, domain, controller.type, attachment, waiting);
    failPoint('xen.detach.after-clear');
    if (!isEmptied) return;
    if (plug !== undefined && model !== undefined) await untilReleased(context, model, plug.node, busid);
    failPoint('xen.detach.released');
    if (plug !== undefined) await hosts.giveBack(busid);
  } catch (error) {
    throw detachFault(heard(error), { vm: domain.name, device: attachment });
  }
}

/** Waits until the device model has the node open. @throws Fault `usb.attach_failed`, `usb.device_gone` */
async function untilTaken(
  { hosts, clock }: UsbHostContext,
  vm: string,
  model: ModelHold,
  device: UsbDevice,
  node: string,
): Promise<void> {
  const key = deviceKey(device);
  const options = { what: 'The device model', timeoutMs: TAKE_TIMEOUT_MS, everyMs: POLL_MS, clock };
  try {
    await pollUntil(options, () => {
      if (model.holds(node)) return true;
      if (!model.isAlive) throw new Fault('usb.attach_failed', { device: key, vm, what: 'its device model has died' });
      if (hosts.plugAt(device.busid)?.node === node) return undefined;
      throw new Fault('usb.device_gone', { device: key });
    });
  } catch (error) {
    if (!isFault(error, 'timeout')) throw error;
    const hint = "Another program of dom0 may be using it; the device model's log in /var/log/xen says more.";
    const what = `the device model did not take it within ${TAKE_TIMEOUT_MS / 1000} s`;
    throw new Fault('usb.attach_failed', { device: key, vm, what }, { hint, cause: error });
  }
}

async function untilReleased({ clock }: UsbHostContext, model: ModelHold, node: string, busid: string): Promise<void> {
  const what = `The release of dom0:${busid} by the device model`;
  await pollUntil({ what, timeoutMs: RELEASE_TIMEOUT_MS, everyMs: POLL_MS, clock }, () =>
    model.holds(node) && model.isAlive ? undefined : true,
  );
}

/** Takes back what an attach has begun. The first failure is the one to tell, so that this one only goes to the log. */
async function undo(
  context: UsbHostContext,
  domain: UsbDomain,
  parts: { readonly controller: ControllerNodes; readonly model: ModelHold },
  device: UsbSlot & UsbDevice,
): Promise<void> {
  try {
    await detachHostDevice(context, domain, parts, { ...device, vm: domain.uuid }, {});
  } catch (error) {
    context.log.warn('an attach that failed could not be undone', { vm: domain.name, device: device.busid, error });
  }
}

/** The id is libxl's: `xl usbdev-detach` finds the device by it. */
async function addDevice(session: QmpSession, slot: UsbSlot, device: UsbDevice, node: string): Promise<void> {
  const { bus = 0, devnum = 0 } = device.host ?? {};
  await session.execute('device_add', {
    id: `xenusb-${bus}-${devnum}`,
    bus: `xenusb-${slot.controller}.0`,
    port: String(slot.port),
    ...deviceProperties(slot, undefined, node),
  });
}

/** Removes the host's device that QEMU has at this port, whoever put it there and whatever its id. */
async function dropDevice(
  { clock }: UsbHostContext,
  domain: UsbDomain,
  model: ModelHold,
  slot: UsbSlot,
): Promise<void> {
  await model.withSession(async (session) => {
    const children = await session.execute('qom-list', { path: PERIPHERALS });
    for (const { name, type } of children) {
      if (type !== 'child<usb-host>') continue;
      const property = (of: string) => session.execute('qom-get', { path: `${PERIPHERALS}/${name}`, property: of });
      const [port, bus] = await Promise.all([property('port'), property('parent_bus')]);
      if (port !== String(slot.port) || !String(bus).endsWith(`/xenusb-${slot.controller}.0`)) continue;
      await removeDevice(session, name, { vm: domain.name, clock });
    }
  });
}

/** Turns a lost conversation with the device model into what a user may see. */
function heard(error: unknown): unknown {
  if (!isFault(error, 'wire.closed', 'wire.broken', 'timeout')) return error;
  return new Fault(
    'hypervisor.failed',
    { what: `the device model does not answer: ${reasonOf(error)}` },
    { cause: error },
  );
}
