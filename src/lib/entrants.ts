/**
 * Whom a socket, or the folder that it is in, lets in besides its owner: a group, and others by an access control list.
 * Who may do what once he is in is no matter of files.
 */
import { chmodSync, chownSync } from 'node:fs';
import { type AclEntry, setAcl } from './native.ts';

export interface Entrants {
  /** The file's group; its own stays, and has no right, when absent. */
  readonly groupId?: number | undefined;
  readonly others?: readonly AclEntry[];
}

const READ = 4;
const WRITE = 2;
const ENTER = 1;

/**
 * Lets entrants into a folder, or connect to a socket, and nobody else but the owner. Gives the errno when the file system
 * takes no access control list: then the `others` are not let in. Throws the system's error when the group cannot be set.
 */
export function letIn(path: string, kind: 'folder' | 'socket', { groupId, others = [] }: Entrants): number | undefined {
  const [owner, right] = kind === 'folder' ? [READ | WRITE | ENTER, READ | ENTER] : [READ | WRITE, READ | WRITE];
  const group = groupId === undefined ? 0 : right;
  if (groupId !== undefined) chownSync(path, -1, groupId);
  chmodSync(path, (owner << 6) | (group << 3));
  // Without others, too: a list that a former daemon left is replaced.
  const failure = setAcl(path, { owner, group, entries: right }, others);
  return others.length === 0 ? undefined : failure;
}
