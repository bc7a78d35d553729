/**
 * Snapshots inside qcow2 images: QEMU takes and removes them while it has the images open, `qemu-img` looks at them and
 * goes back to them while nobody has. Which disks have which is said by save.ts and restore-disks.ts.
 */
import { basename, dirname, join } from 'node:path';
import { exec } from '../../lib/exec.ts';
import { isFault } from '../../lib/fault.ts';
import type { DiskConfig } from '../../model/vm.ts';
import { isQmpError } from '../../wire/qmp/error.ts';
import type { QmpSession } from '../../wire/qmp/session.ts';
import type { SavedDisk } from '../saved-disks.ts';
import { nodeName } from './disk-argv.ts';

/** A snapshot in a disk that QEMU has open: its block node and name. */
export interface NodeSnapshot {
  readonly node: string;
  readonly name: string;
}

/** A snapshot in an image that nobody has open. */
export interface ImageSnapshot {
  readonly path: string;
  readonly name: string;
}

/** A snapshot in a disk of a domain, whoever has it open. */
export type DiskSnapshot = NodeSnapshot & ImageSnapshot;

/** qemu-img writes tables anew, and syncs: seconds on a slow disk. */
const IMG_TIMEOUT_MS = 60_000;

/** Takes them all at one moment, or none. Legal while the images are active. @throws QmpError */
export async function takeSnapshots(session: QmpSession, snapshots: readonly NodeSnapshot[]): Promise<void> {
  const actions = snapshots.map(({ node, name }) => ({
    type: 'blockdev-snapshot-internal-sync' as const,
    data: { device: node, name },
  }));
  await session.execute('transaction', { actions });
}

/** Removes those that are there. @throws QmpError */
export async function removeSnapshots(session: QmpSession, snapshots: readonly NodeSnapshot[]): Promise<void> {
  if (snapshots.length > 0) await activateImages(session);
  for (const { node, name } of snapshots) {
    await session.execute('blockdev-snapshot-delete-internal-sync', { device: node, name }).catch((error: unknown) => {
      if (!isQmpError(error) || !/does not exist/i.test(error.desc)) throw error;
    });
  }
}

/**
 * Makes the images of a paused guest usable: after a migration QEMU 7.2 has given them away, writing to one is an assertion
 * that ends it, and it refuses the next migration. The only way back is `cont`, so that such a guest runs for an instant.
 */
export async function activateImages(session: QmpSession): Promise<void> {
  const { status } = await session.execute('query-status');
  if (status !== 'postmigrate') return;
  await session.execute('cont');
  await session.execute('stop');
}

/** The `qemu-img` that belongs to a QEMU: beside it, or on the path. */
export class QemuImg {
  readonly #binary: string;

  constructor(qemuBinary: string) {
    const folder = dirname(qemuBinary);
    this.#binary = qemuBinary === basename(qemuBinary) ? 'qemu-img' : join(folder, 'qemu-img');
  }

  /** Says why it cannot be used, `undefined` when it can. */
  async whyUnusable(): Promise<string | undefined> {
    try {
      await this.#run(['--version']);
      return undefined;
    } catch (error) {
      if (isFault(error)) return `${this.#binary} cannot be run (apt install qemu-utils)`;
      throw error;
    }
  }

  /** Lists the snapshots of an image. @throws Fault `exec.failed`, `timeout` */
  async list(path: string): Promise<readonly string[]> {
    const { stdout } = await this.#run(['info', '--output=json', '--image-opts', imageOpts(path)]);
    const { snapshots = [] } = JSON.parse(stdout) as { readonly snapshots?: readonly { readonly name: string }[] };
    return snapshots.map(({ name }) => name);
  }

  /** @throws Fault `exec.failed`, `timeout` */
  async take({ path, name }: ImageSnapshot): Promise<void> {
    await this.#run(['snapshot', '-q', '-c', name, '--image-opts', imageOpts(path)]);
  }

  /** Makes the image what it was then; what came later is gone. @throws Fault `exec.failed`, `timeout` */
  async revert({ path, name }: ImageSnapshot): Promise<void> {
    await this.#run(['snapshot', '-q', '-a', name, '--image-opts', imageOpts(path)]);
  }

  /** @throws Fault `exec.failed`, `timeout` */
  async remove({ path, name }: ImageSnapshot): Promise<void> {
    await this.#run(['snapshot', '-q', '-d', name, '--image-opts', imageOpts(path)]);
  }

  #run(words: readonly string[]) {
    return exec([this.#binary, ...words], { timeoutMs: IMG_TIMEOUT_MS });
  }
}

/** Gives the snapshots that a save says of, in the disks that the domain has now. */
export function snapshotsOf(saved: readonly SavedDisk[], disks: readonly DiskConfig[]): DiskSnapshot[] {
  return disks.flatMap(({ path, target }, i) => {
    const name = saved.find((other) => other.target === target)?.snapshot;
    return name === undefined ? [] : [{ path, node: nodeName(i), name }];
  });
}

/** The format is never probed, and a comma of a path is doubled. */
function imageOpts(path: string): string {
  return `driver=qcow2,file.driver=file,file.filename=${path.replaceAll(',', ',,')}`;
}
