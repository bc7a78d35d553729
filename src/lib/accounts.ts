/**
 * Names of users and groups by their numbers and back, from /etc/passwd and /etc/group. Not by the C library: accounts
 * that only a directory service knows are shown by number.
 */
import { readFileSync, statSync } from 'node:fs';

const names = new Map<number, string>();

/** Gives the name of a user, or the number as text when nobody has it. */
export function userName(uid: number, file = '/etc/passwd'): string {
  let name = names.get(uid);
  if (name === undefined) {
    name = readEntries(file).find(([, , id]) => id === String(uid))?.[0];
    // Only what was found is remembered: an account may be added while we run.
    if (name !== undefined) names.set(uid, name);
  }
  return name ?? String(uid);
}

/** The numbers of users and groups, as of now: a file is read again when it has changed. */
export class Accounts {
  readonly #users: NumberFile;
  readonly #groups: NumberFile;

  constructor(passwdFile = '/etc/passwd', groupFile = '/etc/group') {
    this.#users = new NumberFile(passwdFile);
    this.#groups = new NumberFile(groupFile);
  }

  /** Gives the number of a user, `undefined` when there is none of that name; a number stands for itself. */
  userId(user: string | number): number | undefined {
    return typeof user === 'number' ? user : this.#users.numberOf(user);
  }

  /** Gives the number of a group, as {@link userId}. */
  groupId(group: string | number): number | undefined {
    return typeof group === 'number' ? group : this.#groups.numberOf(group);
  }
}

class NumberFile {
  readonly #path: string;
  #version = '';
  #numbers: ReadonlyMap<string, number> = new Map();

  constructor(path: string) {
    this.#path = path;
  }

  numberOf(name: string): number | undefined {
    const { ino, size, mtimeMs } = statSync(this.#path, { throwIfNoEntry: false }) ?? {};
    const version = `${ino} ${size} ${mtimeMs}`;
    if (version !== this.#version) {
      const named = readEntries(this.#path).filter(([entry, , id]) => entry && id && /^\d+$/.test(id));
      this.#numbers = new Map(named.map(([entry = '', , id]) => [entry, Number(id)]));
      this.#version = version;
    }
    return this.#numbers.get(name);
  }
}

/** Reads lines of fields (passwd(5), group(5)); a file that is not there has none. */
function readEntries(file: string): string[][] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').map((line) => line.split(':'));
}
