/** Who is at the other end of a unix socket: what the kernel says, never what the client says. */
import type { Socket } from 'node:net';
import { userName } from '../lib/accounts.ts';
import { peerCredentials } from '../lib/native.ts';
import type { Actor } from '../model/audit.ts';

/** Gives the peer's uid, process and user name; uid -1 when it has hung up before it could be asked. */
export function peerOf(socket: Socket): Actor {
  const peer = peerCredentials(socket);
  return peer === undefined
    ? { uid: -1, pid: 0, user: 'unknown' }
    : { uid: peer.uid, pid: peer.pid, user: userName(peer.uid) };
}
