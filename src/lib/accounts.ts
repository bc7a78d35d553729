/**
 * Names of users and groups by their numbers and back, from /etc/passwd and /etc/group. Not by the C library: accounts
 * that only a directory service knows are shown by number.
 */
import { readFileSync } from 'node:fs';

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

/** Gives the number of a group, `undefined` when there is none of that name. */
export function groupId(name: string, file = '/etc/group'): number | undefined {
  const id = readEntries(file).find(([other]) => other === name)?.[2];
  return id === undefined ? undefined : Number(id);
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
