/**
 * What Usher writes behind the end of xl's stream, where xl does not look: whose save it is, of which Xen, what its disks
 * were, and a checksum, which xl's form lacks. 4096 bytes: magic, then JSON, then zeros. A file without one is xl's own.
 */
import type { FileHandle } from 'node:fs/promises';
import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { parseSavedDisks, type SavedDisk } from '../saved-disks.ts';
import type { Topology } from './saved-config.ts';

export const TRAILER_BYTES = 4096;
const MAGIC = 'USHERXEN1\n';
const CHUNK_BYTES = 1024 * 1024;
const VERSION_FOLDER = '/sys/hypervisor/version';

export interface SaveTrailer {
  readonly uuid: string;
  readonly name: string;
  readonly driver: 'xen';
  /** `4.17`. */
  readonly xen: string;
  /** The kind of guest is in it. */
  readonly topology: Topology;
  /** The writable ones. */
  readonly disks: readonly SavedDisk[];
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly streamBytes: number;
  /** CRC-32 of the stream, hex: it tells damage; whoever may write the file can forge it anyway. */
  readonly crc32: string;
}

/** Makes the bytes of a trailer. @throws RangeError when it does not fit, which takes a hundred disks */
export function formatTrailer(trailer: SaveTrailer): Buffer {
  const bytes = Buffer.alloc(TRAILER_BYTES);
  const text = MAGIC + JSON.stringify(trailer);
  if (Buffer.byteLength(text) >= TRAILER_BYTES) throw new RangeError('the VM has too many disks to be described');
  bytes.write(text);
  return bytes;
}

/** Parses the last bytes of a file: `none` when xl's stream goes up to its end, `undefined` for a trailer that is broken. */
export function parseTrailer(untrusted: Buffer): SaveTrailer | 'none' | undefined {
  const text = untrusted.toString('utf8');
  if (untrusted.length !== TRAILER_BYTES || !text.startsWith(MAGIC)) return 'none';
  try {
    const value = JSON.parse(text.slice(MAGIC.length, text.indexOf('\0'))) as Record<string, unknown>;
    const disks = parseSavedDisks(value['disks']);
    const isWhole =
      disks !== undefined &&
      value['driver'] === 'xen' &&
      Number.isSafeInteger(value['streamBytes']) &&
      typeof value['xen'] === 'string' &&
      typeof value['crc32'] === 'string';
    return isWhole ? { ...(value as unknown as SaveTrailer), disks } : undefined;
  } catch {
    return undefined;
  }
}

/** Reads the end of a file as a trailer. @throws system errors */
export async function readTrailer(file: FileHandle): Promise<SaveTrailer | 'none' | undefined> {
  const { size } = await file.stat();
  const bytes = Buffer.alloc(TRAILER_BYTES);
  const { bytesRead } = await file.read(bytes, 0, TRAILER_BYTES, Math.max(0, size - TRAILER_BYTES));
  return parseTrailer(bytes.subarray(0, bytesRead));
}

/** Gives the version of the Xen that we are on, `4.17`; `unknown` where the kernel does not tell. */
export async function xenVersion(): Promise<string> {
  const parts = ['major', 'minor'].map((name) => readFile(`${VERSION_FOLDER}/${name}`, 'utf8'));
  return Promise.all(parts).then(
    (read) => read.map((text) => text.trim()).join('.'),
    () => 'unknown',
  );
}

/** Says why a save of another Xen cannot be used on this one: Xen restores what older ones saved, not what newer ones did. */
export function whyOtherXen(saved: string, present: string): string | undefined {
  const [then, now] = [saved, present].map((version) => /^(\d{1,3})\.(\d{1,3})$/.exec(version)?.slice(1).map(Number));
  if (then === undefined || now === undefined) return undefined;
  const [[major = 0, minor = 0], [nowMajor = 0, nowMinor = 0]] = [then, now];
  const isNewer = major > nowMajor || (major === nowMajor && minor > nowMinor);
  return isNewer ? `it was saved by Xen ${saved}, which is newer than the ${present} of this host` : undefined;
}

/** The checksum of a file that may still grow: what has come since the last look is added. */
export class GrowingChecksum {
  readonly #file: FileHandle;
  readonly #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #at = 0;
  #value = 0;

  /** The file is open for reading. */
  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** As hex. */
  get value(): string {
    return this.#value.toString(16).padStart(8, '0');
  }

  /** Reads on to the end, or to `end`; `check` is called before each read. @throws what `check` throws; system errors */
  async catchUp(end = Number.POSITIVE_INFINITY, check: () => void = () => undefined): Promise<void> {
    while (this.#at < end) {
      check();
      const length = Math.min(CHUNK_BYTES, end - this.#at);
      const { bytesRead } = await this.#file.read(this.#buffer, 0, length, this.#at);
      if (bytesRead === 0) return;
      this.#value = crc32(this.#buffer.subarray(0, bytesRead), this.#value);
      this.#at += bytesRead;
    }
  }
}
