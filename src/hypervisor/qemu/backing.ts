/**
 * What stands behind software devices inside QEMU: the block node of a stick, the character device of a serial adapter.
 * Both are named by the slot, so that what an attach left that was cut off by our death is found and removed.
 */
import { type Clock, sleep } from '../../lib/clock.ts';
import { formatSlot, type SoftwareDevice, type UsbSlot } from '../../model/usb.ts';
import { isQmpError } from '../../wire/qmp/error.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import { backingName, parseBackingName } from './ids.ts';

export type BackingKind = 'block' | 'chardev';

/** After DEVICE_DELETED the last requests of a block node may still be on their way. */
const BUSY_TIMEOUT_MS = 2_000;
const BUSY_POLL_MS = 10;

/** Tells what kind of backing a software device has, if any. */
export function backingKindOf(device: SoftwareDevice): BackingKind | undefined {
  return { storage: 'block', serial: 'chardev', keyboard: undefined, mouse: undefined, tablet: undefined }[
    device.kind
  ] as BackingKind | undefined;
}

/** Adds the backing of the slot; a leftover of that name is removed first. @throws QmpError */
export async function addBacking(
  session: QmpSession,
  clock: Clock,
  slot: UsbSlot,
  device: SoftwareDevice,
): Promise<void> {
  const kind = backingKindOf(device);
  if (kind === undefined) return;
  try {
    await add(session, slot, kind, device);
  } catch (error) {
    if (!isQmpError(error) || !/duplicate|already exists/i.test(error.desc)) throw error;
    await removeBacking(session, clock, slot, kind);
    await add(session, slot, kind, device);
  }
}

/** Removes the backing of the slot; one that is not there is fine. @throws QmpError when it stays in use */
export async function removeBacking(
  session: QmpSession,
  clock: Clock,
  slot: UsbSlot,
  kind: BackingKind,
): Promise<void> {
  const name = backingName(slot);
  const deadline = clock.monotonic() + BUSY_TIMEOUT_MS;
  for (;;) {
    try {
      if (kind === 'block') await session.execute('blockdev-del', { 'node-name': name });
      else await session.execute('chardev-remove', { id: name });
      return;
    } catch (error) {
      if (!isQmpError(error)) throw error;
      if (/Failed to find node|not found/i.test(error.desc)) return;
      if (!/in use|busy/i.test(error.desc) || clock.monotonic() > deadline) throw error;
      await sleep(clock, BUSY_POLL_MS);
    }
  }
}

/** Removes every backing whose slot has no device. @throws QmpError */
export async function sweepBackings(session: QmpSession, clock: Clock, taken: readonly UsbSlot[]): Promise<void> {
  const isTaken = new Set(taken.map(formatSlot));
  const [nodes, chardevs] = await Promise.all([
    session.execute('query-named-block-nodes', { flat: true }),
    session.execute('query-chardev'),
  ]);
  const names = [
    ...nodes.map((node) => ({ kind: 'block' as const, name: node['node-name'] ?? '' })),
    ...chardevs.map(({ label }) => ({ kind: 'chardev' as const, name: label })),
  ];
  for (const { kind, name } of names) {
    const slot = parseBackingName(name);
    if (slot !== undefined && !isTaken.has(formatSlot(slot))) await removeBacking(session, clock, slot, kind);
  }
}

async function add(session: QmpSession, slot: UsbSlot, kind: BackingKind, device: SoftwareDevice): Promise<void> {
  const name = backingName(slot);
  const { file = '', isReadOnly = false } = device;
  if (kind === 'block') {
    // Always raw: a probed format could make QEMU open other files, as the content says.
    const node = { driver: 'raw', 'node-name': name, 'read-only': isReadOnly };
    await session.execute('blockdev-add', { ...node, file: { driver: 'file', filename: file } });
    return;
  }
  const backend =
    device.file === undefined ? { type: 'null', data: {} } : { type: 'file', data: { out: file, append: true } };
  await session.execute('chardev-add', { id: name, backend });
}
