/** The commands' connection to the daemon: made at the first use, and only then. */
import { Client } from '../api/client.ts';
import { daemonSocketsOf } from '../config/places.ts';
import { VERSION } from './version.ts';

export interface Connection {
  /** @throws Fault `daemon.unreachable`, `denied` */
  get(): Promise<Client>;
  close(): Promise<void>;
}

/** Makes the connection of a command to the daemon of this home, or of this host. */
export function connectLazily(program: string): Connection {
  let connection: Promise<Client> | undefined;
  return {
    get() {
      connection ??= Client.connectToAny(daemonSocketsOf(process.env), `${program} ${VERSION}`);
      return connection;
    },
    async close() {
      await connection?.then((client) => client.close()).catch(() => undefined);
    },
  };
}
