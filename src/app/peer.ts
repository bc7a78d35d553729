/** Who is at the other end of a unix socket: what the kernel says, never what the client says. */
import type { Socket } from 'node:net';
import { userName } from '../lib/accounts.ts';
import { peerCredentials, peerGroups } from '../lib/native.ts';
import type { Actor } from '../model/audit.ts';

/**
 * Gives the peer's uid, process, user name and groups, as they were when it connected; uid -1 when it has hung up before it
 * could be asked.
 */
export function peerOf(socket: Socket): Actor {
  const peer = peerCredentials(socket);
  if (peer === undefined) return { uid: -1, pid: 0, user: 'unknown' };
  const { uid, pid, gid } = peer;
  return { uid, pid, user: userName(uid), groups: [gid, ...peerGroups(socket)] };
}
