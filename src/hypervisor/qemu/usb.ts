/**
 * Attaches devices to a running QEMU and detaches them, each step waiting for its real completion. What is attached is
 * told by domain.ts; names are made in ids.ts.
 */
import type { Clock } from '../../lib/clock.ts';
import { failPoint } from '../../lib/fail-point.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import { type Attachment, deviceKey, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import { isQmpError } from '../../wire/qmp/error.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { Domain, Waiting } from '../driver.ts';
import { findNode, type HostPlaces, LOST_GENERATION } from '../host-device.ts';
import { addBacking, backingKindOf, removeBacking } from './backing.ts';
import { busOf } from './controllers.ts';
import type { QemuDomain } from './domain.ts';
import { deviceQomId, parseDeviceQomId } from './ids.ts';
import { BACKING_OF_TYPE, deviceProperties, removeDevice } from './usb-device.ts';
import { attachFault, detachFault } from './usb-faults.ts';

export interface UsbContext extends HostPlaces {
  readonly domain: QemuDomain;
  readonly clock: Clock;
}

/**
 * Attaches a device: content, then device, then (for a device of the host) the proof that QEMU got the one that was
 * meant. When a step fails, those before it are undone. The signal is heeded before the first step.
 *
 * INVARIANTS: nothing else attaches or detaches at this slot meanwhile (driver.ts sees to that). A death of ours between
 * the steps leaves at most a backing without a device, which the next adoption or attach removes.
 */
export async function attachDevice(
  context: UsbContext,
  slot: UsbSlot,
  device: UsbDevice,
  waiting: Waiting,
): Promise<Attachment> {
  const { domain } = context;
  const key = deviceKey(device);
  if (waiting.signal?.aborted) throw new Fault('aborted', { what: `Attaching ${key}` });
  const observed = await domain.current(waiting);
  const bus = checkSlot(observed, slot, device);
  const node = device.software === undefined ? await findNode(device, context) : undefined;
  if (device.software?.kind === 'storage' && device.software.file === undefined) {
    throw new Fault('usb.file_needed', { kind: 'storage' });
  }
  const session = await domain.session(waiting);
  const id = deviceQomId(slot, device);
  const removal = { vm: domain.name, clock: context.clock };
  const undo: (() => Promise<void>)[] = [];
  domain.touch();
  try {
    await removeLost(context, session, observed, slot, device);
    const { software } = device;
    const kind = software && backingKindOf(software);
    if (software !== undefined && kind !== undefined) {
      await addBacking(session, context.clock, slot, software);
      undo.push(() => removeBacking(session, context.clock, slot, kind));
    }
    failPoint('attach.content-added');
    await session.execute('device_add', {
      id,
      bus,
      port: String(slot.port),
      ...deviceProperties(slot, software, node),
    });
    undo.push(() => removeDevice(session, id, removal));
    failPoint('attach.device-added');
    if (software === undefined) await findNode(device, context);
  } catch (error) {
    for (const step of undo.reverse()) await step().catch(() => undefined); // The first failure is the one to tell.
    if (node !== undefined) await findNode(device, context); // That it is gone explains whatever QEMU says.
    throw attachFault(isQmpError(error) ? error : await domain.translate(error), { vm: domain.name, slot, device });
  } finally {
    domain.touch();
  }
  const { backend, busid, deviceId, generation } = device;
  return { vm: domain.uuid, controller: slot.controller, port: slot.port, backend, busid, deviceId, generation };
}

/**
 * Detaches what the attachment names, and returns when QEMU has let go of device and content. What is not there, or is
 * another device or another plug of it, is left alone. @throws Fault `usb.detach_failed`
 */
export async function detachDevice(context: UsbContext, attachment: Attachment, waiting: Waiting): Promise<void> {
  const { domain } = context;
  const session = await domain.session(waiting);
  const removal = { vm: domain.name, clock: context.clock };
  domain.touch();
  try {
    const children = await session.execute('qom-list', { path: '/machine/peripheral' }, waiting);
    for (const { name, type } of children) {
      const there = parseDeviceQomId(domain.uuid, name);
      if (there === undefined || !isSame(there, attachment)) continue;
      await removeDevice(session, name, removal);
      failPoint('detach.device-deleted');
      const kind = BACKING_OF_TYPE[type];
      if (kind !== undefined) await removeBacking(session, context.clock, attachment, kind);
      failPoint('detach.content-removed');
    }
  } catch (error) {
    const isTold = isQmpError(error) || isFault(error, 'timeout');
    throw detachFault(isTold ? error : await domain.translate(error), { vm: domain.name, device: attachment });
  } finally {
    domain.touch();
  }
}

/** Checks what can be told before anything is touched; gives the name of the bus. */
function checkSlot(observed: Domain, slot: UsbSlot, device: UsbDevice): string {
  const { name: vm } = observed;
  const key = deviceKey(device);
  if (observed.run === 'dead') throw new Fault('vm.no_domain', { vm });
  const controller = observed.controllers.find(({ index }) => index === slot.controller);
  if (controller === undefined || slot.port < 1 || slot.port > controller.ports) {
    throw new Fault('usb.port_not_found', { vm, port: formatSlot(slot) });
  }
  const present = observed.attachments.filter(({ generation }) => generation !== LOST_GENERATION);
  if (present.some((there) => deviceKey(there) === key)) throw new Fault('usb.attached', { device: key, vm });
  const other = present.find((there) => formatSlot(there) === formatSlot(slot));
  if (other !== undefined) {
    throw new Fault('usb.port_busy', { port: formatSlot(slot), vm, other: deviceKey(other) });
  }
  if (observed.run === 'saving') {
    throw new Fault('usb.attach_failed', { device: key, vm, what: 'the VM is being saved' });
  }
  return busOf(controller);
}

/** Removes what is in our way though QEMU has lost its device: it holds the slot, or is of the same port of the host. */
async function removeLost(
  context: UsbContext,
  session: QmpSession,
  { attachments }: Domain,
  slot: UsbSlot,
  device: UsbDevice,
): Promise<void> {
  const isInTheWay = (there: Attachment) =>
    there.generation === LOST_GENERATION &&
    (formatSlot(there) === formatSlot(slot) || deviceKey(there) === deviceKey(device));
  if (!attachments.some(isInTheWay)) return;
  const removal = { vm: context.domain.name, clock: context.clock };
  for (const { name } of await session.execute('qom-list', { path: '/machine/peripheral' })) {
    const there = parseDeviceQomId(context.domain.uuid, name);
    if (there !== undefined && isInTheWay({ ...there, generation: LOST_GENERATION })) {
      await removeDevice(session, name, removal);
    }
  }
}

/** Tells whether it is the same plug of the same device; one that QEMU lost is told without its generation. */
function isSame(there: Attachment, asked: Attachment): boolean {
  return (
    formatSlot(there) === formatSlot(asked) &&
    deviceKey(there) === deviceKey(asked) &&
    there.deviceId === asked.deviceId &&
    (there.generation === asked.generation || asked.generation === LOST_GENERATION)
  );
}
