/** Opens and checks save files before xl gets them: all of the form, from the first record to the last, and whose it is. */
import type { FileHandle } from 'node:fs/promises';
import { errnoOf, Fault, reasonOf } from '../../lib/fault.ts';
import { openRegularFile } from '../../lib/regular-file.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { SaveOwner } from '../save-target.ts';
import { type PlacedController, placeControllers } from './emulated-controllers.ts';
import { SaveFollower } from './save-follower.ts';
import { SaveStreamError, type Span } from './save-stream.ts';
import {
  GrowingChecksum,
  readTrailer,
  type SaveTrailer,
  TRAILER_BYTES,
  whyOtherXen,
  xenVersion,
} from './save-trailer.ts';
import { differenceTo, parseSavedConfig, type SavedConfig } from './saved-config.ts';

/** A file that was checked. Whoever opened it closes it. */
export interface OpenSaveFile {
  readonly file: FileHandle;
  readonly bytes: number;
  readonly saved: SavedConfig;
  /** The emulated controllers that the guest had, all of them. */
  readonly emulated: readonly PlacedController[];
  /** Absent: xl wrote the file alone, and nothing tells whether its content is what it was. */
  readonly trailer?: SaveTrailer;
}

/** QEMU's state of a guest without a screen has some 100 KiB. */
const MAX_MODEL_STATE_BYTES = 64 * 1024 * 1024;

/**
 * Opens a save file of the VM and follows its records to their end, so that a file that was cut off or is not xl's never
 * becomes half a domain. What stands in the pages is checked by the trailer, if the file has one: xl writes no checksum.
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
    const checkAborted = () => {
      if (signal?.aborted) throw new Fault('aborted', { what: `The restore of VM ${config.name}` });
    };
    const trailer = await readTrailer(file);
    if (trailer === undefined) throw refuse('what Usher wrote at its end is not understood');
    const follower = new SaveFollower(file, trailer === 'none' ? undefined : trailer.streamBytes);
    const stage = await follower.look(checkAborted);
    if (stage !== 'whole') throw refuse(`it is cut off after ${follower.bytes} bytes`);
    const saved = parseSavedConfig(follower.untrustedConfig);
    if (saved === undefined) throw refuse('the config in it is not understood');
    const difference = differenceTo(saved, config);
    if (difference !== undefined) throw refuse(difference);
    const emulated = await placesOf(file, saved, follower.modelState);
    if (emulated === undefined)
      throw refuse('the state of its device model does not tell where its USB controllers were');
    // xl would number the PV ones anew, over the numbers that the emulated ones have in the guest.
    if (emulated.length > 0 && saved.controllers.length > 0)
      throw refuse('its guest had emulated and PV USB controllers at once');
    const opened = { file, bytes: follower.bytes, saved, emulated };
    if (trailer === 'none') return opened;
    const damage = await whyUnlike(file, trailer, checkAborted);
    if (damage !== undefined) throw refuse(damage);
    return { ...opened, trailer };
  } catch (error) {
    await file.close();
    if (error instanceof SaveStreamError) throw refuse(error.message, error);
    throw errnoOf(error) === undefined ? error : refuse(reasonOf(error), error);
  }
}

/** Tells whose save a file is, by as much of it as is there; `undefined` when it does not say. @throws as opening it does */
export async function readSaveOwner(path: string): Promise<SaveOwner | undefined> {
  await using follower = new SaveFollower(await openRegularFile(path));
  await follower.look().catch((error: unknown) => {
    // It is cut off, or has our trailer: whose it is stands at its head.
    if (!(error instanceof SaveStreamError)) throw error;
  });
  const saved = parseSavedConfig(follower.untrustedConfig);
  return saved && { uuid: saved.uuid, name: saved.untrustedName };
}

async function whyUnlike(file: FileHandle, trailer: SaveTrailer, check: () => void): Promise<string | undefined> {
  const otherXen = whyOtherXen(trailer.xen, await xenVersion());
  if (otherXen !== undefined) return otherXen;
  const { size } = await file.stat();
  const whole = trailer.streamBytes + TRAILER_BYTES;
  if (size !== whole) return `it has ${size} bytes instead of ${whole}`;
  const checksum = new GrowingChecksum(file);
  await checksum.catchUp(trailer.streamBytes, check);
  return checksum.value === trailer.crc32 ? undefined : 'it is damaged: its checksum is wrong';
}

async function placesOf(
  file: FileHandle,
  { emulated, placed }: SavedConfig,
  span: Span | undefined,
): Promise<PlacedController[] | undefined> {
  if (emulated.length === 0) return [...placed];
  if (span === undefined || span.bytes > MAX_MODEL_STATE_BYTES) return undefined;
  const untrustedState = Buffer.alloc(span.bytes);
  const { bytesRead } = await file.read(untrustedState, 0, span.bytes, span.at);
  return placeControllers(emulated, placed, untrustedState.subarray(0, bytesRead));
}
