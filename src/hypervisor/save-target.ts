/** Where a save may go: its file takes the place of nothing, of an empty file, or of an older save. And how it goes away. */
import { lstat, unlink } from 'node:fs/promises';
import { errnoOf, Fault, messageOf, reasonOf } from '../lib/fault.ts';
import { openRegularFile } from '../lib/regular-file.ts';
import { printable } from '../lib/text.ts';
import type { VmUuid } from '../model/ids.ts';

/** Whose save a file is, as it says itself. */
export interface SaveOwner {
  readonly uuid: string;
  readonly name: string;
}

/** Who saves, and how a driver tells whose a save is; `undefined` for one that is nobody's, which may be replaced. */
export interface SaveClaim {
  readonly uuid: VmUuid;
  readonly ownerOf: (path: string) => Promise<SaveOwner | undefined>;
}

/**
 * Says why `path` may not become a save file, `undefined` when it may. What stands there has to begin with `magic`, as
 * the driver's own saves do: a disk image, a config, a device or a link is left alone. So is the save of another VM, of
 * which it may be all that there is.
 */
export async function whyNoSaveTarget(path: string, magic: string, claim: SaveClaim): Promise<string | undefined> {
  try {
    const status = await lstat(path);
    if (status.isSymbolicLink()) return 'there is a symbolic link: it is left alone';
    if (!status.isFile()) return 'there is something that is no file: it is left alone';
    if (status.size === 0) return undefined;
    await using file = await openRegularFile(path);
    const wanted = Buffer.from(magic);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(wanted.length), 0, wanted.length, 0);
    if (!buffer.subarray(0, bytesRead).equals(wanted)) return 'there is a file that is no save: it is left alone';
    const owner = await claim.ownerOf(path);
    if (owner === undefined || owner.uuid === claim.uuid) return undefined;
    const whose = `${printable(owner.name, 63)}, uuid ${printable(owner.uuid, 36)}`;
    return `there is the save of another VM (${whose}): it is left alone`;
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? undefined : reasonOf(error, 'file.unreadable');
  }
}

/** Removes a save file; none is fine. @throws Fault `file.unwritable` */
export async function removeSave(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return;
    throw new Fault('file.unwritable', { file: path, what: messageOf(error) }, { cause: error });
  });
}
