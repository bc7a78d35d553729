/**
 * Software devices on controllers that a device model emulates: by QMP alone, with the ids of the QEMU driver, which carry
 * the device's identity. libxl knows nothing of them. Only in domains that have a QMP socket of ours.
 */
import type { Clock } from '../../lib/clock.ts';
import { failPoint } from '../../lib/fail-point.ts';
import { Fault, isFault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import {
  type Attachment,
  deviceKey,
  formatSlot,
  type SoftwareDevice,
  type UsbDevice,
  type UsbSlot,
} from '../../model/usb.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { Waiting } from '../driver.ts';
import { addBacking, backingKindOf, removeBacking } from '../qemu/backing.ts';
import { deviceQomId, parseDeviceQomId } from '../qemu/ids.ts';
import { BACKING_OF_TYPE, deviceProperties, removeDevice } from '../qemu/usb-device.ts';
import { attachFault, detachFault } from '../qemu/usb-faults.ts';
import type { ModelHold } from './device-model-hold.ts';
import type { UsbDomain } from './usb-ports.ts';

const PERIPHERALS = '/machine/peripheral';

/** Tells which software devices the device model emulates. @throws as `ModelHold.withSession` */
export function readSoftwareDevices(model: ModelHold, uuid: VmUuid, waiting: Waiting): Promise<Attachment[]> {
  return model.withSession(async (session) => {
    const children = await session.execute('qom-list', { path: PERIPHERALS }, waiting);
    return children.flatMap(({ name }) => parseDeviceQomId(uuid, name) ?? []);
  }, waiting);
}

/**
 * Attaches a software device: content, then device; when a step fails, those before it are undone.
 *
 * INVARIANTS: as attachHostDevice; a death of ours between the steps leaves at most a backing without a device, which the
 * next attach at that slot removes.
 */
export async function attachSoftwareDevice(
  { domain, model, clock }: { readonly domain: UsbDomain; readonly model: ModelHold; readonly clock: Clock },
  slot: UsbSlot,
  device: UsbDevice & { readonly software: SoftwareDevice },
  waiting: Waiting,
): Promise<Attachment> {
  const { software } = device;
  if (software.kind === 'storage' && software.file === undefined) {
    throw new Fault('usb.file_needed', { kind: 'storage' });
  }
  try {
    await model.withSession((session) => addDevice(session, clock, domain.name, slot, device), waiting);
  } catch (error) {
    throw attachFault(error, { vm: domain.name, slot, device });
  }
  const { backend, busid, deviceId, generation } = device;
  return { vm: domain.uuid, controller: slot.controller, port: slot.port, backend, busid, deviceId, generation };
}

/** Detaches the software device that the attachment names; what is not there is fine. @throws Fault `usb.detach_failed` */
export async function detachSoftwareDevice(
  { domain, model, clock }: { readonly domain: UsbDomain; readonly model: ModelHold; readonly clock: Clock },
  attachment: Attachment,
  waiting: Waiting,
): Promise<void> {
  try {
    await model.withSession(async (session) => {
      for (const { name, type } of await session.execute('qom-list', { path: PERIPHERALS }, waiting)) {
        const there = parseDeviceQomId(domain.uuid, name);
        if (there === undefined || !isSame(there, attachment)) continue;
        await removeDevice(session, name, { vm: domain.name, clock });
        failPoint('detach.device-deleted');
        const kind = BACKING_OF_TYPE[type];
        if (kind !== undefined) await removeBacking(session, clock, attachment, kind);
        failPoint('detach.content-removed');
      }
    }, waiting);
  } catch (error) {
    throw detachFault(error, { vm: domain.name, device: attachment });
  }
}

async function addDevice(
  session: QmpSession,
  clock: Clock,
  vm: string,
  slot: UsbSlot,
  device: UsbDevice & { readonly software: SoftwareDevice },
): Promise<void> {
  const { software } = device;
  const kind = backingKindOf(software);
  if (kind !== undefined) await addBacking(session, clock, slot, software);
  failPoint('attach.content-added');
  const id = deviceQomId(slot, device);
  const bus = `xenusb-${slot.controller}.0`;
  const properties = deviceProperties(slot, software, undefined);
  try {
    await session.execute('device_add', { id, bus, port: String(slot.port), ...properties });
    failPoint('attach.device-added');
  } catch (error) {
    // After a deadline the device may be there all the same. The first failure is the one to tell.
    if (isFault(error, 'timeout')) await removeDevice(session, id, { vm, clock }).catch(() => undefined);
    if (kind !== undefined) {
      await removeBacking(session, clock, slot, kind).catch(() => undefined);
    }
    throw error;
  }
}

function isSame(there: Attachment, asked: Attachment): boolean {
  const names = (one: Attachment) => [formatSlot(one), deviceKey(one), one.deviceId, one.generation].join(' ');
  return names(there) === names(asked);
}
