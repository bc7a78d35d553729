/** Serves a simulated world on a unix socket: each connection is a session of its own, and its end the client's death. */
import type { Socket } from 'node:net';
import { asFault, Fault } from '../../lib/fault.ts';
import { LineSplitter } from '../../lib/lines.ts';
import { listenUnix, type UnixServer } from '../../lib/unix-server.ts';
import type { World } from './world.ts';
import { MAX_LINE_BYTES, type WorldMessage } from './world-messages.ts';
import type { ParamsOf, WorldMethod, WorldPort } from './world-port.ts';
import { isWorldMethod } from './world-session.ts';

/** Listens at `path` for clients of the world. @throws `socket.busy`, `socket.path_long`, `file.unwritable` */
export function serveWorld(world: World, path: string): Promise<UnixServer> {
  return listenUnix(path, (socket) => serveClient(world, socket), { mode: 0o600 });
}

function serveClient(world: World, socket: Socket): void {
  const port = world.open();
  const lines = new LineSplitter(MAX_LINE_BYTES);
  const underWay = new Map<number, AbortController>();
  const send = (message: WorldMessage) => {
    if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
  };
  port.onHint((hint) => send({ hint }));
  socket.on('close', () => void port.close());
  socket.on('data', (chunk) => {
    try {
      for (const line of lines.push(chunk)) take(JSON.parse(line.toString()) as unknown);
    } catch {
      socket.destroy(); // Not one of our clients: there is nothing to say to it.
    }
  });

  function take(untrustedRequest: unknown): void {
    const { id, method, params, cancel } = untrustedRequest as Record<string, unknown>;
    if (typeof cancel === 'number') underWay.get(cancel)?.abort(new Fault('aborted', { what: 'The call' }));
    else if (typeof id === 'number' && isWorldMethod(method)) void answer(port, id, method, params);
    else throw new TypeError('not a request');
  }

  async function answer(to: WorldPort, id: number, method: WorldMethod, untrustedParams: unknown): Promise<void> {
    const controller = new AbortController();
    underWay.set(id, controller);
    try {
      // A client of the same version wrote them: this socket is for tests and benchmarks, and only its owner gets in.
      send({ id, result: await to.call(method, untrustedParams as ParamsOf<WorldMethod>, controller.signal) });
    } catch (error) {
      send({ id, fault: asFault(error).toWire() });
    } finally {
      underWay.delete(id);
    }
  }
}
