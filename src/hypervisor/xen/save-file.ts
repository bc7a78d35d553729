/** Opens and checks save files before xl gets them: all of the form, from the first record to the last, and whose it is. */
import type { FileHandle } from 'node:fs/promises';
import { errnoOf, Fault, reasonOf } from '../../lib/fault.ts';
import { openRegularFile } from '../../lib/regular-file.ts';
import type { VmConfig } from '../../model/vm.ts';
import { SaveStreamError, SaveStreamParser } from './save-stream.ts';
import { differenceTo, parseSavedConfig, type SavedConfig } from './saved-config.ts';

/** A file that was checked. Whoever opened it closes it. */
export interface OpenSaveFile {
  readonly file: FileHandle;
  readonly bytes: number;
  readonly saved: SavedConfig;
}

/** Enough for the header of a record; bodies are passed over. */
const READ_BYTES = 4096;

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
    const { bytes, untrustedConfig } = await follow(file, () => {
      if (signal?.aborted) throw new Fault('aborted', { what: `The restore of VM ${config.name}` });
    });
    const saved = parseSavedConfig(untrustedConfig);
    if (saved === undefined) throw refuse('the config in it is not understood');
    const difference = differenceTo(saved, config);
    if (difference !== undefined) throw refuse(difference);
    return { file, bytes, saved };
  } catch (error) {
    await file.close();
    if (error instanceof SaveStreamError) throw refuse(error.message, error);
    throw errnoOf(error) === undefined ? error : refuse(reasonOf(error), error);
  }
}

/** Follows the records of a file. @throws SaveStreamError; what `check` throws, which is called at each read */
async function follow(file: FileHandle, check: () => void): Promise<{ bytes: number; untrustedConfig: string }> {
  const parser = new SaveStreamParser();
  const { size } = await file.stat();
  const buffer = Buffer.alloc(READ_BYTES);
  for (let at = 0; at < size; ) {
    check();
    const passed = parser.passable;
    parser.pass(passed);
    at += passed;
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) break;
    // What of the next body is read along is passed by `push`.
    parser.push(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  if (parser.stage !== 'whole') throw new SaveStreamError(`it is cut off after ${size} bytes`);
  return { bytes: size, untrustedConfig: parser.untrustedConfig ?? '' };
}
