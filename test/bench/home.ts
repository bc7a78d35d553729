/** An Usher of a benchmark's own: a home in a temporary folder, and the daemon as a person starts it, by its launcher. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '../../src/api/client.ts';
import { type Places, placesOf } from '../../src/config/places.ts';
import { pollUntil } from '../../src/lib/deadline.ts';

export const ROOT = join(import.meta.dirname, '../..');

const START_TIMEOUT_MS = 60_000;
/** How often a starting daemon is tried: what a measured start is off by at most, half of it on average. */
const POLL_MS = 2;

export class Home {
  readonly folder: string;
  readonly places: Places;
  readonly env: NodeJS.ProcessEnv;
  readonly #log: string;
  #daemon: ChildProcess | undefined;

  private constructor(folder: string, env: NodeJS.ProcessEnv) {
    this.folder = folder;
    this.env = { ...process.env, ...env, USHER_HOME: folder };
    this.places = placesOf(this.env);
    this.#log = join(folder, 'usherd.log');
  }

  /** Makes an empty home; `env` is added to the environment of the daemon and of commands. */
  static async make(env: (folder: string) => NodeJS.ProcessEnv = () => ({})): Promise<Home> {
    const folder = await mkdtemp(join(tmpdir(), 'usher-bench-'));
    return new Home(folder, env(folder));
  }

  /** The daemon's process. @throws Error when it does not run */
  get pid(): number {
    if (this.#daemon?.pid === undefined) throw new Error('the daemon does not run');
    return this.#daemon.pid;
  }

  /** Starts the daemon; resolves with a connection as soon as there is one. */
  async start(): Promise<Client> {
    const log = openSync(this.#log, 'a', 0o600);
    const daemon = spawn(join(ROOT, 'bin/usherd'), [], { env: this.env, stdio: ['ignore', log, log] });
    closeSync(log);
    this.#daemon = daemon;
    const limits = { what: 'The start of the daemon', timeoutMs: START_TIMEOUT_MS, everyMs: POLL_MS };
    return await pollUntil(limits, async () => {
      if (daemon.exitCode !== null)
        throw new Error(`the daemon ended with ${daemon.exitCode}:\n${await this.logTail()}`);
      return await this.connect().catch(() => undefined);
    });
  }

  /** Connects to the daemon. @throws Fault `daemon.unreachable` */
  connect(): Promise<Client> {
    return Client.connect(this.places.socket, 'bench');
  }

  /** Sends the daemon a signal and waits until it is gone. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const exited = once(daemon, 'exit');
    daemon.kill(signal);
    await exited;
  }

  async logTail(): Promise<string> {
    return (await readFile(this.#log, 'utf8').catch(() => '')).slice(-2000);
  }

  async remove(): Promise<void> {
    await this.end('SIGTERM');
    await rm(this.folder, { recursive: true, force: true });
  }
}
