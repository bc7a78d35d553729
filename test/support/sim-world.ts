/** Starts a simulated world as a process of its own, from source, and ends it. It also ends when the test's process does. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface WorldProcessOptions {
  readonly socket: string;
  readonly vms?: number;
  readonly devices?: number;
  readonly bootMs?: number;
  readonly shutdownMs?: number;
  readonly maxControllers?: number;
}

export interface WorldProcess {
  readonly socket: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** The entry from source; `dist/sim-world.cjs` is the same, bundled. */
export const WORLD_ENTRY = fileURLToPath(new URL('../../src/hypervisor/simulator/world-process.ts', import.meta.url));

/** Resolves when the world listens. */
export async function startWorld(options: WorldProcessOptions): Promise<WorldProcess> {
  const { socket, vms = 0, devices = 0, bootMs = 0, shutdownMs = 0, maxControllers = 0 } = options;
  const words = {
    socket,
    vms,
    devices,
    'boot-ms': bootMs,
    'shutdown-ms': shutdownMs,
    'max-controllers': maxControllers,
  };
  const args = Object.entries(words).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(process.execPath, [WORLD_ENTRY, ...args, '--attended'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface(child.stdout);
  const isUp = await Promise.race([once(lines, 'line').then(() => true), exited.then(() => false)]);
  if (!isUp || child.pid === undefined) throw new Error(`the simulated world ended with ${child.exitCode}`);
  return {
    socket,
    pid: child.pid,
    stop: async () => {
      child.kill();
      await exited;
    },
  };
}
