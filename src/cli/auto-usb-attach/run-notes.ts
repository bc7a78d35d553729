/**
 * What a run of auto-usb-attach has asked for, in a file of its own, so that the next run can take it back when this one
 * is killed. Only a memory aid: what is assigned is what the daemon says.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makePrivateFolder, writeFileAtomic } from '../../lib/atomic-file.ts';
import { bootId } from '../../lib/boot-id.ts';
import { errnoOf } from '../../lib/fault.ts';

export interface RunNote {
  readonly boot: string;
  readonly pid: number;
  /** The VM's uuid. */
  readonly vm: string;
  /** Patterns of assignments that are there because of this run. */
  readonly patterns: readonly string[];
}

/** INVARIANTS: a pattern is noted before it is assigned, and until after its assignment is removed. */
export class RunNotes {
  readonly #folder: string;
  readonly #pid: number;
  /** Notes of dead runs that this one has taken over. */
  readonly #taken = new Set<string>();

  constructor(folder: string, pid: number = process.pid) {
    this.#folder = folder;
    this.#pid = pid;
  }

  /** Gives the patterns that runs which are dead have left with the VM; they are this run's now. */
  async leftWith(vm: string): Promise<string[]> {
    const notes = (await this.#deadNotes()).filter(({ note }) => note.vm === vm);
    for (const { path } of notes) this.#taken.add(path);
    return [...new Set(notes.flatMap(({ note }) => note.patterns))];
  }

  /** Notes what this run has; the notes of the dead runs that it took over go. @throws Fault `file.unwritable` */
  async write(vm: string, patterns: readonly string[]): Promise<void> {
    const own = join(this.#folder, `${this.#pid}.json`);
    if (patterns.length === 0) await rm(own, { force: true });
    else {
      await makePrivateFolder(this.#folder);
      const note: RunNote = { boot: bootId(), pid: this.#pid, vm, patterns };
      await writeFileAtomic(own, `${JSON.stringify(note)}\n`);
    }
    this.#taken.delete(own);
    for (const path of this.#taken) await rm(path, { force: true });
    this.#taken.clear();
  }

  async #deadNotes(): Promise<{ readonly path: string; readonly note: RunNote }[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const paths = names.filter((name) => /^\d+\.json$/.test(name)).map((name) => join(this.#folder, name));
    const found = await Promise.all(paths.map(async (path) => ({ path, note: await readNote(path) })));
    return found.filter(
      (one): one is { path: string; note: RunNote } => one.note !== undefined && !this.#lives(one.note),
    );
  }

  /** Our own number in a note is that of a run before us. */
  #lives({ boot, pid }: RunNote): boolean {
    if (boot !== bootId() || pid === this.#pid) return false;
    try {
      process.kill(pid, 0);
      return true;
    } catch (error) {
      return errnoOf(error) !== 'ESRCH';
    }
  }
}

async function readNote(path: string): Promise<RunNote | undefined> {
  try {
    const untrusted = JSON.parse(await readFile(path, 'utf8')) as Partial<RunNote> | null;
    const { boot, pid, vm, patterns } = untrusted ?? {};
    const isNote = typeof boot === 'string' && typeof pid === 'number' && typeof vm === 'string';
    if (!isNote || !Array.isArray(patterns) || !patterns.every((one) => typeof one === 'string')) return undefined;
    return { boot, pid, vm, patterns };
  } catch {
    return undefined; // Another run may be writing or removing it.
  }
}
