/** Who reaches the daemon's sockets: everybody who may do anything at all, and nobody else. */
import type { Accounts } from '../lib/accounts.ts';
import type { Entrants } from '../lib/entrants.ts';
import type { AclEntry } from '../lib/native.ts';
import type { AccessEntry } from '../model/access.ts';
import { ADMIN_GROUP, READERS_GROUP } from './access.ts';

/** Tells whether this is the host's daemon and no person's own: it runs as root, or for the group `usher` first of all. */
export function isOfHost(accounts: Accounts, uid = process.getuid?.(), gid = process.getgid?.()): boolean {
  return uid === 0 || (gid !== undefined && gid === accounts.groupId(READERS_GROUP));
}

/** Gives who is let in: as of now, an account that is made later is let in by the next daemon. */
export function entrantsOf(accounts: Accounts, hasGroups: boolean, entries: readonly AccessEntry[]): Entrants {
  const group = (name: string | number): AclEntry[] => {
    const gid = accounts.groupId(name);
    return gid === undefined ? [] : [{ gid }];
  };
  const user = (name: string | number): AclEntry[] => {
    const uid = accounts.userId(name);
    return uid === undefined ? [] : [{ uid }];
  };
  const others = [
    ...(hasGroups ? group(ADMIN_GROUP) : []),
    ...entries.flatMap(({ to }) => ('user' in to ? user(to.user) : group(to.group))),
  ];
  return { others, ...(hasGroups ? { groupId: accounts.groupId(READERS_GROUP) } : {}) };
}
