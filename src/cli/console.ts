/** Connects the terminal with a guest's serial console until Ctrl-] or either end hangs up. */
import { connect, type Socket } from 'node:net';
import { Fault, messageOf } from '../lib/fault.ts';
import type { Output } from './command.ts';

/** Ctrl-], as in telnet and virsh. */
const ESCAPE = 0x1d;

/** Gives 0 when the person left or the guest went away. @throws Fault `vm.no_domain` when nobody listens */
export async function showConsole(socketPath: string, out: Output): Promise<number> {
  const socket = connect({ path: socketPath });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => {
      const hint = `Start it first. The console's socket is ${socketPath} (${messageOf(error)}).`;
      reject(new Fault('vm.no_domain', { vm: 'of this console' }, { hint, cause: error }));
    });
  });
  if (out.isTerminal) out.tell('connected; leave with Ctrl-]');
  await relayTerminal(socket, ESCAPE);
  if (out.isTerminal) out.tell('\r\nleft');
  return 0;
}

/**
 * Joins the terminal and the connection until the person types the byte `leave` or the other end hangs up; tells whether
 * the person did.
 */
export async function relayTerminal(socket: Socket, leave: number): Promise<boolean> {
  const { stdin, stdout } = process;
  if (stdin.isTTY) stdin.setRawMode(true);
  const isLeft = Promise.withResolvers<boolean>();
  const onTyped = (chunk: Buffer) => {
    const end = stdin.isTTY ? chunk.indexOf(leave) : -1;
    socket.write(end === -1 ? chunk : chunk.subarray(0, end));
    if (end !== -1) isLeft.resolve(true);
  };
  const onEnd = () => void socket.end();
  socket.on('data', (chunk: Buffer) => stdout.write(chunk));
  socket.once('error', () => isLeft.resolve(false));
  socket.once('close', () => isLeft.resolve(false));
  stdin.on('data', onTyped);
  stdin.once('end', onEnd);
  try {
    return await isLeft.promise;
  } finally {
    stdin.off('data', onTyped);
    stdin.off('end', onEnd);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
    socket.destroy();
  }
}
