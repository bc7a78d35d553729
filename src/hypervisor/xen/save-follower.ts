/** Follows a save file while it is being written, or after: how far it has come, and whether it is whole. Reads headers only. */
import type { FileHandle } from 'node:fs/promises';
import { type SaveStage, SaveStreamParser, type Span } from './save-stream.ts';

/** Enough for the header of a record; bodies are passed over. */
const READ_BYTES = 4096;

export class SaveFollower implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #parser = new SaveStreamParser();
  readonly #buffer = Buffer.alloc(READ_BYTES);
  readonly #end: number;
  #at = 0;
  #size = 0;

  /** The file is open for reading; what stands behind `end` is none of the stream. */
  constructor(file: FileHandle, end = Number.POSITIVE_INFINITY) {
    this.#file = file;
    this.#end = end;
  }

  /** Closes the file: for who has no other use for it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#file.close();
  }

  /** The size at the last look. */
  get bytes(): number {
    return this.#size;
  }

  get stage(): SaveStage {
    return this.#parser.stage;
  }

  get untrustedConfig(): string {
    return this.#parser.untrustedConfig ?? '';
  }

  /** Where the state of the device model stands, when there is one and it has been come to. */
  get modelState(): Span | undefined {
    return this.#parser.modelState;
  }

  /**
   * Looks at what has come since the last look; `check` is called before each read. @throws SaveStreamError when it is no
   * save; what `check` throws; system errors
   */
  async look(check: () => void = () => undefined): Promise<SaveStage> {
    this.#size = Math.min((await this.#file.stat()).size, this.#end);
    while (this.#at < this.#size) {
      check();
      const passed = Math.min(this.#parser.passable, this.#size - this.#at);
      this.#parser.pass(passed);
      this.#at += passed;
      const length = Math.min(READ_BYTES, this.#size - this.#at);
      const { bytesRead } = await this.#file.read(this.#buffer, 0, length, this.#at);
      if (bytesRead === 0) break; // It has become shorter.
      // What of the next body is read along is passed by `push`.
      this.#parser.push(this.#buffer.subarray(0, bytesRead));
      this.#at += bytesRead;
    }
    return this.#parser.stage;
  }
}
