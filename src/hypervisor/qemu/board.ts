/** What is done to a running QEMU besides its life and its USB: media of CD drives, buttons, its display. */
import { Fault } from '../../lib/fault.ts';
import type { Trigger } from '../../model/vm.ts';
import { isQmpError } from '../../wire/qmp/error.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { VncPlace, Waiting } from '../driver.ts';
import type { QemuDomain } from './domain.ts';
import { withMedium } from './media.ts';
import { type Origin, readOrigin, writeOrigin } from './origin.ts';

/**
 * Puts a medium into a CD drive, or takes it out. The guest may have locked the tray: it is opened all the same, as with a
 * paper clip. The image is taken as raw, never probed; a save tells of it. @throws Fault `vm.no_drive`, `file.unwritable`,
 * QmpError
 */
export async function changeMedium(
  session: QmpSession,
  domain: QemuDomain,
  target: string,
  file: string | undefined,
  waiting: Waiting,
): Promise<void> {
  const origin = await readOrigin(domain.paths);
  const id = driveId(domain, origin, target);
  if (file === undefined) await session.execute('eject', { id, force: true }, waiting);
  else {
    const medium = { id, filename: file, format: 'raw', 'read-only-mode': 'read-only', force: true } as const;
    await session.execute('blockdev-change-medium', medium, waiting);
  }
  const media = withMedium(origin.media ?? [], { target, ...(file === undefined ? {} : { file }) });
  await writeOrigin(domain.paths, { ...origin, media });
}

/** @throws Fault `vm.unsupported`, QmpError */
export async function trigger(
  session: QmpSession,
  { name }: QemuDomain,
  what: Trigger,
  waiting: Waiting,
): Promise<void> {
  if (what === 'power') await session.execute('system_powerdown', {}, waiting);
  else if (what === 's3resume') await session.execute('system_wakeup', {}, waiting);
  else if (what === 'nmi') await session.execute('inject-nmi', {}, waiting);
  else throw new Fault('vm.unsupported', { verb: `trigger ${what}`, vm: name, what: 'QEMU has no sleep button' });
}

/** @throws QmpError */
export async function findVnc(session: QmpSession, waiting: Waiting): Promise<VncPlace | undefined> {
  try {
    const { enabled, host = '', service = '' } = await session.execute('query-vnc', {}, waiting);
    return enabled && /^\d{1,5}$/.test(service) ? { host, port: Number(service) } : undefined;
  } catch (error) {
    if (isQmpError(error, 'CommandNotFound')) return undefined; // A QEMU that was built without VNC.
    throw error;
  }
}

/** QEMU counts the drives, and knows nothing of their targets; what it was started with tells. @throws Fault `vm.no_drive` */
function driveId({ name }: QemuDomain, { topology }: Origin, target: string): string {
  const disks = topology.disks.split(' ').map((disk) => disk.split(':'));
  const index = disks.findIndex(([other, kind]) => other === target && kind === 'cdrom');
  if (index === -1) throw new Fault('vm.no_drive', { vm: name, target });
  return `disk-${index}`;
}
