/**
 * Takes and empties ports: the transactions on a port's node and its note, each proving first that the domain is still the
 * one that is meant. Waits for nothing.
 */
import { Fault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import { type Attachment, formatSlot, type UsbDevice, type UsbSlot } from '../../model/usb.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import { isXenstoreError } from '../../wire/xenstore/error.ts';
import type { Waiting } from '../driver.ts';
import { LOST_GENERATION } from '../host-device.ts';
import {
  type ControllerType,
  formatNote,
  notePath,
  parseNote,
  parsePort,
  parseVmPath,
  portPath,
  vmPath,
} from './nodes.ts';

/** The running domain that is acted on. */
export interface UsbDomain {
  readonly domid: number;
  readonly uuid: VmUuid;
  readonly name: string;
}

type Store = Pick<XenstoreClient, 'transaction'>;

/**
 * Writes the device's busid to a free port, and the note beside it. Six requests in four round trips. What is no busid
 * counts as nothing: no backend takes it for a device.
 * @throws Fault `vm.no_domain`, `usb.port_not_found`, `usb.port_busy`, `hypervisor.failed`
 */
export async function takePort(
  store: Store,
  domain: UsbDomain,
  type: ControllerType,
  slot: UsbSlot,
  device: Pick<UsbDevice, 'busid' | 'generation' | 'deviceId'>,
  waiting: Waiting,
): Promise<void> {
  const { domid, uuid, name: vm } = domain;
  const path = portPath(type, domid, slot);
  await told(
    store.transaction(async (transaction) => {
      const [owner, value] = await Promise.all([transaction.read(vmPath(domid)), transaction.read(path)]);
      if (parseVmPath(owner) !== uuid) throw new Fault('vm.no_domain', { vm });
      if (value === undefined) throw new Fault('usb.port_not_found', { vm, port: formatSlot(slot) });
      const there = parsePort(value);
      if (there.is === 'busid') {
        throw new Fault('usb.port_busy', { vm, port: formatSlot(slot), other: `dom0:${there.busid}` });
      }
      await Promise.all([
        transaction.write(path, device.busid),
        transaction.write(notePath(domid, slot), formatNote(device)),
      ]);
    }, waiting),
  );
}

/** Which plug of which device a port is asked about. */
type Meant = Pick<Attachment, 'controller' | 'port' | 'busid' | 'generation'>;

/** Tells whether what a port and its note say is still that plug of that device. @throws Fault `hypervisor.failed` */
export function isInPort(
  store: Pick<XenstoreClient, 'read'>,
  domain: Pick<UsbDomain, 'domid' | 'uuid'>,
  type: ControllerType,
  attachment: Meant,
  waiting: Waiting = {},
): Promise<boolean> {
  const read = (path: string) => store.read(path, waiting);
  return told(readPort(read, domain, type, attachment).then(({ isMeant }) => isMeant));
}

/**
 * Empties a port and drops its note, if what it says is still that plug of that device; one that is lost goes whatever its
 * plug. Tells whether it was. A domain that is gone has no ports. @throws Fault `hypervisor.failed`
 */
export function emptyPort(
  store: Store,
  domain: Pick<UsbDomain, 'domid' | 'uuid'>,
  type: ControllerType,
  attachment: Meant,
  waiting: Waiting = {},
): Promise<boolean> {
  return told(
    store.transaction(async (transaction) => {
      const read = (path: string) => transaction.read(path);
      const { isMeant, value, note } = await readPort(read, domain, type, attachment);
      if (!isMeant) return false;
      await Promise.all([
        ...(value === attachment.busid ? [transaction.write(portPath(type, domain.domid, attachment), '')] : []),
        ...(note === undefined ? [] : [transaction.rm(notePath(domain.domid, attachment))]),
      ]);
      return true;
    }, waiting),
  );
}

/** Reads a port and its note, proving the domain, and judges whether they are about that plug of that device. */
async function readPort(
  read: (path: string) => Promise<string | undefined>,
  { domid, uuid }: Pick<UsbDomain, 'domid' | 'uuid'>,
  type: ControllerType,
  attachment: Meant,
): Promise<{ readonly isMeant: boolean; readonly value: string | undefined; readonly note: string | undefined }> {
  const { busid, generation } = attachment;
  const [owner, value, text] = await Promise.all([
    read(vmPath(domid)),
    read(portPath(type, domid, attachment)),
    read(notePath(domid, attachment)),
  ]);
  const note = parseNote(text);
  // A note on something else than what is in the port is of an attachment that others ended.
  const isNoted = note?.busid === busid && (value === busid || value === '' || value === undefined);
  const isPlug = isNoted ? generation === LOST_GENERATION || note.generation === generation : value === busid;
  return { isMeant: isPlug && parseVmPath(owner) === uuid, value, note: text };
}

/** Turns what xenstored refuses into a Fault; Faults stay. */
export async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!isXenstoreError(error)) throw error;
    const hint = isXenstoreError(error, 'EAGAIN')
      ? 'Another program writes there without a pause; try again.'
      : undefined;
    throw new Fault('hypervisor.failed', { what: error.message }, { cause: error, hint });
  }
}
