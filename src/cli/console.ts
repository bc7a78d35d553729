/** Connects the terminal with a guest's serial console until Ctrl-] or either end hangs up. */
import { connect } from 'node:net';
import { Fault, messageOf } from '../lib/fault.ts';
import type { Output } from './command.ts';

/** Ctrl-], as in telnet and virsh. */
const ESCAPE = 0x1d;

/** Gives 0 when the person left or the guest went away. @throws Fault `vm.no_domain` when nobody listens */
export async function showConsole(socketPath: string, out: Output): Promise<number> {
  const socket = connect({ path: socketPath });
  const { stdin, stdout } = process;
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => {
      const hint = `Start it first. The console's socket is ${socketPath} (${messageOf(error)}).`;
      reject(new Fault('vm.no_domain', { vm: 'of this console' }, { hint, cause: error }));
    });
  });
  if (out.isTerminal) out.tell('connected; leave with Ctrl-]');
  if (stdin.isTTY) stdin.setRawMode(true);
  try {
    await new Promise<void>((resolve) => {
      socket.on('data', (chunk: Buffer) => stdout.write(chunk));
      socket.once('error', () => resolve());
      socket.once('close', () => resolve());
      stdin.on('data', (chunk: Buffer) => {
        const end = stdin.isTTY ? chunk.indexOf(ESCAPE) : -1;
        socket.write(end === -1 ? chunk : chunk.subarray(0, end));
        if (end !== -1) resolve();
      });
      stdin.once('end', () => socket.end());
    });
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
    socket.destroy();
  }
  if (out.isTerminal) out.tell('\r\nleft');
  return 0;
}
