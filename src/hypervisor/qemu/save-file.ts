/**
 * The form of a save file: a header of 4096 bytes (magic, then JSON, then zeros), then QEMU's migration stream. Reads
 * and checks it; save.ts fills it and restore.ts feeds it to QEMU.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { errnoOf, Fault, reasonOf } from '../../lib/fault.ts';
import { openRegularFile } from '../../lib/regular-file.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { VmConfig } from '../../model/vm.ts';
import { parseSavedDisks, type SavedDisk } from '../saved-disks.ts';
import { type Topology, whyAnotherVm } from '../topology.ts';
import { type Medium, parseMedia } from './media.ts';

export const HEADER_BYTES = 4096;
/** What every save file begins with. */
export const MAGIC = 'USHERSAV1\n';
const CHUNK_BYTES = 1024 * 1024;

export interface SaveHeader {
  readonly saveId: string;
  readonly uuid: VmUuid;
  readonly name: string;
  readonly driver: 'qemu';
  /** The program's version, for people. */
  readonly qemu: string;
  /** The machine type with its version: what `-machine` has to say. */
  readonly machine: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly topology: Topology;
  /** Absent in files from before there were any: no. */
  readonly hasBalloon?: boolean;
  /** The writable ones. */
  readonly disks: readonly SavedDisk[];
  /** What was changed in CD drives. Absent in files from before that was noted: nothing. */
  readonly media?: readonly Medium[];
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly streamBytes: number;
  /** Of the stream, hex. */
  readonly sha256: string;
}

/** A file that was checked. Whoever opened it closes it. */
export interface OpenSaveFile {
  readonly file: FileHandle;
  readonly header: SaveHeader;
}

/** Makes the bytes of a header. @throws RangeError when it does not fit, which takes some hundred disks */
export function formatHeader(header: SaveHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  const text = MAGIC + JSON.stringify(header);
  if (Buffer.byteLength(text) >= HEADER_BYTES) throw new RangeError('the VM has too many disks to be described');
  bytes.write(text);
  return bytes;
}

/** Reads the header of the file at `path`; `undefined` when there is none. @throws Fault `file.unreadable`, system errors */
export async function readSaveHeader(path: string): Promise<SaveHeader | undefined> {
  const file = await openRegularFile(path);
  try {
    return parseHeader(await readHeaderBytes(file));
  } finally {
    await file.close();
  }
}

/**
 * Opens a save file and checks all of it, the stream's checksum too, before anything is done with it. The caller closes
 * the file. @throws Fault `vm.save_invalid`, `aborted`
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
    const header = parseHeader(await readHeaderBytes(file));
    if (header === undefined) throw refuse('it was not written by a save of a QEMU guest');
    const difference = whyAnotherVm(header, config);
    if (difference !== undefined) throw refuse(difference);
    const { size } = await file.stat();
    if (size !== HEADER_BYTES + header.streamBytes) {
      throw refuse(`it has ${size} bytes instead of ${HEADER_BYTES + header.streamBytes}`);
    }
    const hash = createHash('sha256');
    for await (const chunk of streamOf(file)) {
      if (signal?.aborted) throw new Fault('aborted', { what: `The restore of VM ${config.name}` });
      hash.update(chunk);
    }
    if (hash.digest('hex') !== header.sha256) throw refuse('it is damaged: its checksum is wrong');
    return { file, header };
  } catch (error) {
    await file.close();
    throw errnoOf(error) === undefined ? error : refuse(reasonOf(error), error);
  }
}

/** Reads the stream behind the header; each chunk is overwritten by the next. */
export async function* streamOf(file: FileHandle): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let position = HEADER_BYTES; ; ) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function readHeaderBytes(file: FileHandle): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
  return buffer.subarray(0, bytesRead);
}

/** Parses a header; `undefined` for anything that this version did not write. */
export function parseHeader(untrusted: Buffer): SaveHeader | undefined {
  const text = untrusted.toString('utf8');
  if (untrusted.length !== HEADER_BYTES || !text.startsWith(MAGIC)) return undefined;
  let value: Partial<Record<keyof SaveHeader, unknown>>;
  try {
    value = JSON.parse(text.slice(MAGIC.length, text.indexOf('\0'))) as typeof value;
  } catch {
    return undefined;
  }
  const strings = [value.saveId, value.uuid, value.name, value.qemu, value.machine, value.sha256];
  const isWhole =
    strings.every((member) => typeof member === 'string') &&
    value.driver === 'qemu' &&
    (value.accelerator === 'kvm' || value.accelerator === 'tcg') &&
    typeof value.topology === 'object' &&
    value.topology !== null &&
    Number.isSafeInteger(value.streamBytes) &&
    // It becomes a word of QEMU's command line.
    /^[a-z0-9.-]{1,64}$/.test(value.machine as string);
  const disks = parseSavedDisks(value.disks);
  const media = parseMedia(value.media ?? []);
  if (!isWhole || disks === undefined || media === undefined) return undefined;
  return { ...(value as SaveHeader), disks, ...(value.media === undefined ? {} : { media }) };
}
