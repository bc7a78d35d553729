/** Starts the small programs that benchmarks compare with, each a process of its own; they end when we do. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Peer {
  readonly pid: number;
  end(): Promise<void>;
}

/** Starts `node peers/FILE ARGS` and resolves when it has printed its first line. @throws Error when it ends instead */
export async function startPeer(file: string, args: readonly string[]): Promise<Peer> {
  const child: ChildProcess = spawn(process.execPath, [join(import.meta.dirname, file), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  if (child.stdout === null || child.pid === undefined) throw new Error(`${file} could not be started`);
  const isUp = await Promise.race([
    once(createInterface(child.stdout), 'line').then(() => true),
    exited.then(() => false),
  ]);
  if (!isUp) throw new Error(`${file} ended with ${child.exitCode}`);
  return {
    pid: child.pid,
    async end() {
      child.stdin?.end();
      await exited;
    },
  };
}

/** For the peers: says that all is ready, and ends the process when who started it goes away. */
export function attend(): void {
  process.stdin.resume();
  process.stdin.once('end', () => process.exit(0));
  process.stdin.once('error', () => process.exit(0));
  process.stdout.write('ready\n');
}
