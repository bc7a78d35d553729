/**
 * The form of what `xl save` writes, as a parser without I/O: xl's header with the domain's config as JSON, then libxl's
 * records, and among them libxc's with the memory (xl.h `save_file_header`; docs/specs/libxl-migration-stream.pandoc and
 * libxc-migration-stream.pandoc). It follows the records from one to the next; what stands in them it does not look at.
 */

/** What every file begins with: the magic of `xl`. */
export const MAGIC = 'Xen saved domain, xl format\n \0 \r';

/**
 * Where in the stream it stands: before the guest's first page, from its first page to the end of its memory, behind that,
 * at the end of all.
 */
export type SaveStage = 'head' | 'memory' | 'tail' | 'whole';

/** Says why bytes are no save of xl. */
export class SaveStreamError extends Error {
  constructor(what: string) {
    super(what);
    this.name = 'SaveStreamError';
  }
}

const HEADER_BYTES = 48;
/** `byteorder` as x86 and ARM write it. */
const LITTLE_ENDIAN = 0x01020304;
/** `mandatory_flags`: the config is JSON, the rest is a stream of version 2. Older ones date from before Xen 4.6. */
const FLAGS = 0b11;
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

/** libxl: marker, version 2, options 0. The header is big-endian, its records are as its options say. */
const LIBXL_HEADER = Buffer.from('LibxlFmt\0\0\0\x02\0\0\0\0', 'latin1');
const LIBXL_END = 0;
const LIBXL_LIBXC_CONTEXT = 1;
const LIBXL_EMULATOR_CONTEXT = 3;

/** libxc: eight bytes of ones, `XENF`; then version (3 since Xen 4.14, 2 before) and options, big-endian. */
const LIBXC_HEADER_BYTES = 24;
const LIBXC_MARKER = Buffer.from('ffffffffffffffff58454e46', 'hex');
const LIBXC_VERSIONS = [2, 3];
const LIBXC_DOMAIN_HEADER_BYTES = 16;
const LIBXC_END = 0;
const LIBXC_PAGE_DATA = 1;

const RECORD_HEADER_BYTES = 8;
/** One record of pages has 1024 of them at most, one of a device model some MiB. */
const MAX_RECORD_BYTES = 256 * 1024 * 1024;

/** Takes the next bytes that it asked for, and says what comes then. */
type Step = (bytes: Buffer) => Next;
/** To look at `bytes` and go on with `step`, after so many bytes that nobody looks at. */
interface Next {
  readonly after?: number;
  readonly bytes: number;
  readonly step: Step;
}

/** A part of the file, in bytes. */
export interface Span {
  readonly at: number;
  readonly bytes: number;
}

/**
 * INVARIANTS: it keeps no more than one header, or the config; once it has thrown it stays broken.
 */
export class SaveStreamParser {
  #held: Buffer[] = [];
  #heldBytes = 0;
  #passable = 0;
  /** How many bytes have come, or were passed over. */
  #position = 0;
  #next: Next;
  #stage: SaveStage = 'head';
  #config: string | undefined;
  #modelState: Span | undefined;

  constructor() {
    this.#next = { bytes: HEADER_BYTES, step: (bytes) => this.#takeHeader(bytes) };
  }

  get stage(): SaveStage {
    return this.#stage;
  }

  /** The domain's config, from the moment that it is there. */
  get untrustedConfig(): string | undefined {
    return this.#config;
  }

  /** Where the state of the device model stands, in bytes from the file's begin; only HVM guests have one. */
  get modelState(): Span | undefined {
    return this.#modelState;
  }

  /** How many of the next bytes nobody looks at: a reader of a file may pass over them. */
  get passable(): number {
    return this.#passable;
  }

  /** Passes over bytes without having them; no more than `passable`. */
  pass(bytes: number): void {
    if (bytes > this.#passable) throw new RangeError(`only ${this.#passable} bytes may be passed over`);
    this.#passable -= bytes;
    this.#position += bytes;
  }

  /** Takes a chunk. @throws SaveStreamError when these bytes are no save of xl, or more than one */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#stage === 'whole') throw new SaveStreamError('there is more behind its end');
      const passed = Math.min(this.#passable, chunk.length - at);
      this.#passable -= passed;
      this.#position += passed;
      at += passed;
      const part = chunk.subarray(at, at + this.#next.bytes - this.#heldBytes);
      if (part.length === 0) continue;
      this.#held.push(part);
      this.#heldBytes += part.length;
      this.#position += part.length;
      at += part.length;
      if (this.#heldBytes === this.#next.bytes) this.#advance();
    }
  }

  #advance(): void {
    const [only] = this.#held;
    const bytes = this.#held.length === 1 && only !== undefined ? only : Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    this.#next = this.#next.step(bytes);
    this.#passable = this.#next.after ?? 0;
  }

  #takeHeader(bytes: Buffer): Next {
    const [byteOrder, flags, , length] = [32, 36, 40, 44].map((at) => bytes.readUInt32LE(at));
    if (bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) throw new SaveStreamError('it was not written by xl save');
    if (byteOrder !== LITTLE_ENDIAN) throw new SaveStreamError('it was written on a machine of the other byte order');
    if (flags !== FLAGS)
      throw new SaveStreamError(`it is of a form that is not known (flags 0x${flags?.toString(16)})`);
    if (length === undefined || length < 4 || length > MAX_CONFIG_BYTES) {
      throw new SaveStreamError('it has no config of its domain');
    }
    return { bytes: length, step: (optional) => this.#takeConfig(optional) };
  }

  #takeConfig(optional: Buffer): Next {
    const length = optional.readUInt32LE(0);
    if (length > optional.length - 4) throw new SaveStreamError('its config is longer than its header says');
    this.#config = optional.toString('utf8', 4, 4 + length).replace(/\0$/, '');
    return { bytes: LIBXL_HEADER.length, step: (header) => this.#takeLibxlHeader(header) };
  }

  #takeLibxlHeader(header: Buffer): Next {
    if (!header.equals(LIBXL_HEADER)) throw new SaveStreamError('its stream is of a form that is not known');
    return this.#libxlRecord();
  }

  #libxlRecord(after = 0): Next {
    return { after, bytes: RECORD_HEADER_BYTES, step: (record) => this.#takeLibxlRecord(record) };
  }

  #takeLibxlRecord(record: Buffer): Next {
    const [type, padded] = readRecord(record);
    if (type === LIBXL_END) {
      if (this.#stage !== 'tail') throw new SaveStreamError('it has no memory');
      this.#stage = 'whole';
      return { bytes: 0, step: () => this.#next };
    }
    if (type === LIBXL_EMULATOR_CONTEXT) this.#modelState = { at: this.#position, bytes: padded };
    if (type !== LIBXL_LIBXC_CONTEXT) return this.#libxlRecord(padded);
    if (this.#stage !== 'head') throw new SaveStreamError('it has memory twice');
    return { after: padded, bytes: LIBXC_HEADER_BYTES, step: (header) => this.#takeLibxcHeader(header) };
  }

  #takeLibxcHeader(header: Buffer): Next {
    const isKnown = header.subarray(0, LIBXC_MARKER.length).equals(LIBXC_MARKER);
    if (!isKnown || !LIBXC_VERSIONS.includes(header.readUInt32BE(12))) {
      throw new SaveStreamError('its memory is of a form that is not known');
    }
    return this.#libxcRecord(LIBXC_DOMAIN_HEADER_BYTES);
  }

  #libxcRecord(after: number): Next {
    return { after, bytes: RECORD_HEADER_BYTES, step: (record) => this.#takeLibxcRecord(record) };
  }

  #takeLibxcRecord(record: Buffer): Next {
    const [type, padded] = readRecord(record);
    if (type === LIBXC_PAGE_DATA) this.#stage = 'memory';
    if (type !== LIBXC_END) return this.#libxcRecord(padded);
    this.#stage = 'tail';
    return this.#libxlRecord(padded);
  }
}

/** Gives a record's type, and the bytes of its body with what fills it up to a multiple of eight. */
function readRecord(header: Buffer): [type: number, paddedBytes: number] {
  const [type, length] = [header.readUInt32LE(0), header.readUInt32LE(4)];
  if (length > MAX_RECORD_BYTES) throw new SaveStreamError(`it has a record of ${length} bytes`);
  return [type, Math.ceil(length / 8) * 8];
}
