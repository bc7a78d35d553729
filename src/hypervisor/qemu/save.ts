/**
 * Saves a running domain into a file. QEMU 7.2 has no `file:` migration and `-sandbox` forbids `exec:`, so the state
 * goes by `migrate unix:` to a socket of ours and from there, with back-pressure, into the file.
 */
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { replaceFile } from '../../lib/atomic-file.ts';
import type { Clock } from '../../lib/clock.ts';
import { Fault, isFault, reasonOf } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import { writeWhole } from '../../lib/whole-write.ts';
import { deviceKey } from '../../model/usb.ts';
import type { DiskConfig } from '../../model/vm.ts';
import { isQmpError } from '../../wire/qmp/error.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { SaveOptions, SaveReport } from '../driver.ts';
import { whyNoSaveTarget } from '../save-target.ts';
import {
  disksRefusal,
  ignoredDisksWarning,
  type SavedDisk,
  snapshotNameOf,
  stampDisks,
  writableDisks,
} from '../saved-disks.ts';
import { nodeName } from './disk-argv.ts';
import type { QemuDomain } from './domain.ts';
import { type Origin, readOrigin } from './origin.ts';
import { formatHeader, MAGIC, readSaveHeader } from './save-file.ts';
import { cancelMigration, goOn, removeSaveNote, type SaveNote, writeSaveNote } from './save-note.ts';
import { Standstill, writeState } from './save-state.ts';
import { type DiskSnapshot, type NodeSnapshot, type QemuImg, removeSnapshots, snapshotsOf } from './snapshots.ts';

export interface SaveInput {
  readonly domain: QemuDomain;
  readonly path: string;
  readonly options: SaveOptions;
  readonly img: QemuImg;
  readonly clock: Clock;
  readonly log: Log;
}

export type SaveCheck = Pick<SaveInput, 'domain' | 'path' | 'img'> & {
  readonly options: Pick<SaveOptions, 'afterwards' | 'disks' | 'signal'>;
};

/**
 * QEMU's TCG notes which pages are dirty by the way; a processor that is interrupted between the look and the write can
 * write to a page that was copied meanwhile, and that is not noted. KVM has no such gap.
 */
const EMULATED_WARNING =
  'This guest is emulated (TCG), where a live save may miss a write: one in many such guests fails after its restore. Save it without live=true if that matters.';

/** What is done about the disks. */
interface DiskPlan {
  readonly origin: Origin;
  readonly writable: readonly DiskConfig[];
  /** Whether each of the writable ones gets a snapshot. */
  readonly takesSnapshots: boolean;
}

/** A save that is done, and the snapshots of the save whose place its file took: they are to be removed. */
export interface SaveOutcome {
  readonly report: SaveReport;
  readonly outdated: readonly DiskSnapshot[];
}

/**
 * Looks whether a save can begin. Touches nothing. A guest that goes on after the save writes to its disks, so that each
 * of them needs a snapshot, which only qcow2 images have. @throws Fault `vm.save_failed`, `vm.no_domain`
 */
export async function checkSave({ domain, path, options, img }: SaveCheck): Promise<DiskPlan> {
  const { name: vm } = domain;
  const refuse = (what: string) => new Fault('vm.save_failed', { vm, file: path, what });
  await checkTarget(domain, path, refuse);
  if ((await domain.observe({ signal: options.signal })).run === 'dead') throw new Fault('vm.no_domain', { vm });
  if (domain.isSaving) throw refuse('another save is going on');
  const origin = await readOrigin(domain.paths);
  const writable = writableDisks(origin.disks);
  const isCovered = options.afterwards === 'stopped' || options.disks === 'ignore';
  if (isCovered || writable.length === 0) return { origin, writable, takesSnapshots: false };
  const others = writable.filter(({ format }) => format !== 'qcow2');
  if (others.length > 0) throw disksRefusal(vm, path, others, 'only qcow2 images can hold one');
  const trouble = await img.whyUnusable();
  if (trouble !== undefined)
    throw disksRefusal(vm, path, writable, `a restore could not go back to it, for ${trouble}`);
  return { origin, writable, takesSnapshots: true };
}

/**
 * Saves the domain: all of its state under its final name, or nothing and the guest goes on as before. A live save has the
 * guest run while its memory is copied, and stops it for the last part only.
 *
 * INVARIANTS: the file gets its name when QEMU says `completed` and every byte is on the disk, not before; `savedTo` is
 * set only then. Snapshots are taken between the guest's last instruction and the end of the copy. From the first command
 * on, whatever fails leads through `giveUp`, and a daemon that dies leaves a note by which the next does the same
 * (save-note.ts).
 *
 * @throws Fault `vm.save_failed`, `vm.died`, `aborted`
 */
export async function saveQemu(input: SaveInput): Promise<SaveOutcome> {
  const { domain, path, options, clock } = input;
  const { name: vm } = domain;
  const what = `The save of VM ${vm}`;
  const { signal, afterwards } = options;
  if (signal?.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
  const plan = await checkSave(input);
  const refuse = (why: string) => new Fault('vm.save_failed', { vm, file: path, what: why });
  const { run, attachments } = await domain.observe({ signal });
  if (attachments.length > 0)
    throw refuse(`${attachments.map(deviceKey).join(', ')} would be missing when it is restored`);

  const isSafe = plan.origin.accelerator === 'kvm' || run !== 'running';
  const { isLive = afterwards === 'running' && isSafe } = options;
  const session = await domain.session({ signal });
  const saveId = randomUUID();
  const snapshots = plan.takesSnapshots ? nodesOf(plan, snapshotNameOf(saveId)) : [];
  const older = await readSaveHeader(path).catch(() => undefined);
  const note: SaveNote = { saveId, path: resolve(path), afterwards, wasRunning: run === 'running', snapshots };
  domain.isSaving = true;
  try {
    using standstill = new Standstill(session, clock);
    let pausedMs = 0;
    await replaceFile(path, async (file) => {
      await writeSaveNote(domain.paths, note);
      const description = await describe(domain, session, plan);
      const state = await writeState({ domain, session, file, options, isLive, snapshots, standstill, clock });
      const disks = await describeDisks(plan, saveId);
      const goesOn = afterwards === 'running' && note.wasRunning;
      // All that the file needs of the guest is in it: bringing it to the disk is no reason to keep the guest waiting.
      if (goesOn) {
        await goOn(session, true);
        pausedMs = standstill.ms;
      }
      const header = { ...description, saveId, disks, createdAt: clock.now(), ...state };
      await writeWhole(file, formatHeader(header), 0);
      options.onProgress?.(state.streamBytes, state.streamBytes);
      if (signal?.aborted) throw new Fault('aborted', { what }, { cause: signal.reason });
      await checkTarget(domain, path, refuse); // Minutes may have passed, and other hands made a file there.
    });
    if (afterwards === 'stopped') {
      pausedMs = note.wasRunning ? standstill.ms : 0;
      options.onWritten?.();
      domain.savedTo = note.path;
    } else await removeSaveNote(domain.paths);
    const isUncovered = afterwards === 'running' && !plan.takesSnapshots && plan.writable.length > 0;
    const outdated = older?.uuid === domain.uuid ? snapshotsOf(older.disks, plan.origin.disks) : [];
    const warnings = isUncovered ? [ignoredDisksWarning(vm, plan.writable)] : [];
    if (isLive && !isSafe) warnings.push(EMULATED_WARNING);
    // To remove them would change the disks, which the file that was just written has noted as they are.
    if (afterwards === 'stopped') warnings.push(...outdated.map(stayingSnapshot));
    const report = { pausedMs: Math.round(pausedMs), isLive, warnings };
    return { report, outdated: afterwards === 'stopped' ? [] : outdated };
  } catch (error) {
    throw await giveUp(input, note, error);
  } finally {
    domain.isSaving = false;
  }
}

async function checkTarget({ uuid }: QemuDomain, path: string, refuse: (why: string) => Fault): Promise<void> {
  const why = await whyNoSaveTarget(path, MAGIC, { uuid, ownerOf: readSaveHeader });
  if (why !== undefined) throw refuse(why);
}

function stayingSnapshot({ path, name }: DiskSnapshot): string {
  return `A snapshot of the save that was in that place stays in ${path}; when the VM is back: qemu-img snapshot -d ${name}.`;
}

function nodesOf({ origin, writable }: DiskPlan, name: string): NodeSnapshot[] {
  return origin.disks.flatMap((disk, i) => (writable.includes(disk) ? [{ node: nodeName(i), name }] : []));
}

async function describeDisks({ writable, takesSnapshots }: DiskPlan, saveId: string): Promise<SavedDisk[]> {
  if (!takesSnapshots) return await stampDisks(writable);
  return writable.map(({ target }) => ({ target, snapshot: snapshotNameOf(saveId) }));
}

/** Gives all of the header that is known before the stream. */
async function describe(domain: QemuDomain, session: QmpSession, { origin }: DiskPlan) {
  const { major, minor, micro } = session.version.qemu;
  const machine = String(await session.execute('qom-get', { path: '/machine', property: 'type' }));
  return {
    uuid: domain.uuid,
    name: domain.name,
    driver: 'qemu' as const,
    qemu: `${major}.${minor}.${micro}`,
    machine: machine.replace(/-machine$/, ''),
    topology: origin.topology,
    hasBalloon: origin.hasBalloon === true,
    accelerator: origin.accelerator,
    media: origin.media ?? [],
  };
}

/** Puts the guest back to what it was, and gives the fault to tell. */
async function giveUp({ domain, path, clock, log }: SaveInput, note: SaveNote, error: unknown): Promise<unknown> {
  const vm = domain.name;
  try {
    const session = await domain.session();
    await cancelMigration(session, clock);
    await goOn(session, note.wasRunning);
    await removeSnapshots(session, note.snapshots);
    await removeSaveNote(domain.paths);
  } catch (trouble) {
    if (!domain.isAlive) return new Fault('vm.died', { vm, verb: 'save', what: 'QEMU ended' }, { cause: error });
    log.error('a guest could not be put back after a save that failed', { vm, error: trouble });
  }
  if (isFault(error, 'aborted', 'vm.died', 'vm.no_domain', 'vm.save_failed')) return error;
  const what = isQmpError(error)
    ? error.desc
    : reasonOf(error, 'file.unwritable', 'hypervisor.failed', 'hypervisor.lost');
  return new Fault('vm.save_failed', { vm, file: path, what }, { cause: error });
}
