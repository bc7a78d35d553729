/** Opens and checks save files before xl gets them: all of the form, from the first record to the last, and whose it is. */
import type { FileHandle } from 'node:fs/promises';
import { errnoOf, Fault, reasonOf } from '../../lib/fault.ts';
import { openRegularFile } from '../../lib/regular-file.ts';
import type { VmConfig } from '../../model/vm.ts';
import { SaveFollower } from './save-follower.ts';
import { SaveStreamError } from './save-stream.ts';
import { differenceTo, parseSavedConfig, type SavedConfig } from './saved-config.ts';

/** A file that was checked. Whoever opened it closes it. */
export interface OpenSaveFile {
  readonly file: FileHandle;
  readonly bytes: number;
  readonly saved: SavedConfig;
}

/**
 * Opens a save file of the VM and follows its records to their end, so that a file that was cut off or is not xl's never
 * becomes half a domain. What stands in the pages cannot be checked: xl writes no checksum.
 * @throws Fault `vm.save_invalid`, `aborted`
 */
export async function openSaveFile(
  path: string,
  config: VmConfig,
  signal: AbortSignal | undefined,
): Promise<OpenSaveFile> {
  const refuse = (what: string, cause?: unknown) => new Fault('vm.save_invalid', { file: path, what }, { cause });
  const file = await openRegularFile(path).catch((error: unknown) => {
    throw refuse(errnoOf(error) === 'ENOENT' ? 'it is not there' : reasonOf(error, 'file.unreadable'), error);
  });
  try {
    const follower = new SaveFollower(file);
    const stage = await follower.look(() => {
      if (signal?.aborted) throw new Fault('aborted', { what: `The restore of VM ${config.name}` });
    });
    if (stage !== 'whole') throw refuse(`it is cut off after ${follower.bytes} bytes`);
    const saved = parseSavedConfig(follower.untrustedConfig);
    if (saved === undefined) throw refuse('the config in it is not understood');
    const difference = differenceTo(saved, config);
    if (difference !== undefined) throw refuse(difference);
    return { file, bytes: follower.bytes, saved };
  } catch (error) {
    await file.close();
    if (error instanceof SaveStreamError) throw refuse(error.message, error);
    throw errnoOf(error) === undefined ? error : refuse(reasonOf(error), error);
  }
}
