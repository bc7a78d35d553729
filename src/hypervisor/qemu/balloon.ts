/**
 * The balloon of a QEMU guest: a device by which it gives memory back to the host, and takes it again. How far it follows
 * is up to the guest, which needs a driver (virtio_balloon).
 */
import { Fault } from '../../lib/fault.ts';
import type { VmConfig } from '../../model/vm.ts';
import { isQmpError } from '../../wire/qmp/error.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { Waiting } from '../driver.ts';
import { mostMemoryMiB } from '../topology.ts';

const MIB = 1024 * 1024;
/** QEMU has one balloon at most. */
const DRIVER = 'virtio-balloon';

/** Tells whether a new domain gets a balloon of ours: unless its config brings another by `extra-hvm`. */
export function getsBalloon({ extraArguments = [] }: VmConfig): boolean {
  return !extraArguments.some(({ name, value = '' }) => name === 'device' && value.includes(DRIVER));
}

/** Gives `-device` for it. */
export function balloonArgv(): string[] {
  return ['-device', JSON.stringify({ driver: `${DRIVER}-pci`, id: 'balloon' })];
}

/** Has a new guest begin with the memory of its config, when it was started with more. @throws QmpError */
export async function beginWithMemory(session: QmpSession, config: VmConfig, waiting: Waiting): Promise<void> {
  if (mostMemoryMiB(config) === config.memoryMiB) return;
  await session.execute('balloon', { value: config.memoryMiB * MIB }, waiting);
}

/** Tells the guest how much it is to have. @throws Fault `vm.unsupported` without a balloon, or for too much; QmpError */
export async function setMemoryTarget(
  session: QmpSession,
  vm: string,
  memoryMiB: number,
  waiting: Waiting,
): Promise<void> {
  const refuse = (what: string, hint: string, cause?: unknown) =>
    new Fault('vm.unsupported', { verb: 'memory', vm, what }, { hint, cause });
  try {
    await session.execute('query-balloon', {}, waiting);
  } catch (error) {
    if (!isQmpError(error, 'DeviceNotActive')) throw error;
    const hint = 'It goes on from before Usher gave guests one. Shut it down and start it, and it has one.';
    throw refuse('its QEMU has no balloon', hint, error);
  }
  const { 'base-memory': bytes } = await session.execute('query-memory-size-summary', {}, waiting);
  const most = Math.floor(bytes / MIB);
  // QEMU would take the most for it, and say nothing.
  if (memoryMiB > most) {
    throw refuse(`it was started with ${most} MiB at most`, 'Raise "memory-max" in its config, and restart it.');
  }
  await session.execute('balloon', { value: memoryMiB * MIB }, waiting);
}
