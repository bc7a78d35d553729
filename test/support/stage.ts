/**
 * A whole Usher on a stage of its own, as a person has it: a home in a temporary folder, the daemon's bundle as a
 * process, the command line, and VMs with the small guest. Used by the demo and by tests.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestConsole } from '../../lab/console.ts';
import { GUEST_CMDLINE, type GuestImage, guestImage } from '../../lab/guest.ts';
import { Client } from '../../src/api/client.ts';
import { PROTOCOL, type VmDetails } from '../../src/api/views.ts';
import { pollUntil, withDeadline } from '../../src/lib/deadline.ts';
import { exec } from '../../src/lib/exec.ts';

const ROOT = join(import.meta.dirname, '../..');
const BIN = join(ROOT, 'bin');

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One Usher: its home, its daemon, its command line. */
export class Stage {
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  readonly image: GuestImage;
  readonly #vms: StageVm[] = [];
  #daemon: ChildProcess | undefined;
  /** What daemons have written to standard error so far. */
  log = '';

  private constructor(home: string, image: GuestImage) {
    this.home = home;
    this.image = image;
    // What a daemon here would tell the system's log is nobody's business; a test that reads it listens there.
    this.env = { ...process.env, USHER_HOME: home, USHER_SYSTEM_LOG: join(home, 'log') };
  }

  /** Makes an empty home; socket paths are short enough there. */
  static async set(): Promise<Stage> {
    return new Stage(await mkdtemp(join(tmpdir(), 'usher-')), await guestImage());
  }

  /** Gives another hand on a home: a second daemon there, or a home with nothing in it. It strikes nothing. */
  at(home: string): Stage {
    return new Stage(home, this.image);
  }

  /** The daemon's process, while it runs. */
  get daemonPid(): number | undefined {
    return this.#daemon?.pid;
  }

  /** Starts the daemon, by way of another program if one is named, and waits until it answers. `env` is added to its environment. */
  async startDaemon(env: NodeJS.ProcessEnv = {}, through: readonly string[] = []): Promise<void> {
    const [program = '', ...words] = [...through, join(BIN, 'usherd')];
    const daemon = spawn(program, words, {
      env: { ...this.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    daemon.stderr.on('data', (chunk: Buffer) => (this.log += chunk.toString()));
    this.#daemon = daemon;
    const what = 'The start of the daemon';
    await pollUntil({ what, timeoutMs: 30_000, everyMs: 20 }, async () => {
      if (daemon.exitCode !== null)
        throw new Error(`the daemon ended with ${daemon.exitCode}:\n${this.log.slice(-2000)}`);
      const client = await Client.connect(join(this.home, 'run', 'usher.sock'), 'stage').catch(() => undefined);
      const hello = await client?.call('hello', { client: 'stage', protocol: PROTOCOL }).catch(() => undefined);
      client?.close();
      return hello?.pid === daemon.pid ? hello : undefined;
    });
  }

  /** Ends the daemon by a signal and waits until it is gone; gives its exit status. */
  async endDaemon(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    this.#daemon?.kill(signal);
    return await this.daemonEnd();
  }

  /** Waits until the daemon ends by itself. */
  async daemonEnd(timeoutMs = 30_000): Promise<number | null> {
    const daemon = this.#daemon;
    if (daemon === undefined) return null;
    await withDeadline({ what: 'The end of the daemon', timeoutMs }, async () => {
      if (daemon.exitCode === null && daemon.signalCode === null) {
        await new Promise((resolve) => daemon.once('exit', resolve));
      }
    });
    this.#daemon = undefined;
    return daemon.exitCode;
  }

  /** Runs `usher WORDS` whatever comes of it. */
  async try(...words: string[]): Promise<CommandResult> {
    return await this.run('usher', ...words);
  }

  /** Runs one of the commands in bin/ to its end, whatever comes of it. */
  async run(command: string, ...words: string[]): Promise<CommandResult> {
    const accept = Array.from({ length: 255 }, (_, status) => status);
    return await exec([join(BIN, command), ...words], { timeoutMs: 180_000, env: this.env, accept });
  }

  /** Starts one of the commands in bin/, which goes on. `env` is added to its environment. */
  begin(command: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): RunningCommand {
    return new RunningCommand(spawn(join(BIN, command), words, { env: { ...this.env, ...env } }));
  }

  /** Runs `usher WORDS` and gives what it printed. @throws Error with what it said, when it failed */
  async usher(...words: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.try(...words);
    if (status !== 0) throw new Error(`usher ${words.join(' ')}: status ${status}: ${stderr.trim()}`);
    return stdout.trimEnd();
  }

  /** Runs `usher WORDS --json` and gives its answer. */
  async ask<T>(...words: string[]): Promise<T> {
    return JSON.parse(await this.usher(...words, '--json')) as T;
  }

  /** Writes the config file of a VM with the small guest and takes it into the inventory. */
  async makeVm(name: string, more: readonly string[] = []): Promise<StageVm> {
    const file = join(this.home, `${name}.cfg`);
    const { kernel, initrd } = this.image;
    const lines = [
      `name = ${name}`,
      'driver = qemu',
      `kernel = ${kernel}`,
      `initrd = ${initrd}`,
      `cmdline = ${GUEST_CMDLINE}`,
    ];
    await writeFile(file, [...lines, 'memory = 192', ...more, ''].join('\n'));
    await this.usher('vm', 'create', file);
    const vm = new StageVm(this, name, (await this.ask<VmDetails>('vm', 'show', name)).console);
    this.#vms.push(vm);
    return vm;
  }

  /** Ends everything: VMs, daemon, home. */
  async strike(): Promise<void> {
    if (this.#daemon === undefined) await this.startDaemon().catch(() => undefined);
    for (const vm of this.#vms) {
      await this.try('vm', 'destroy', vm.name);
      vm.console.close();
    }
    await this.endDaemon('SIGTERM').catch(() => undefined);
    await rm(this.home, { recursive: true, force: true });
  }

  /** Lets go of everything and leaves it running. */
  leave(): void {
    for (const vm of this.#vms) vm.console.close();
    this.#daemon?.stderr?.destroy();
    this.#daemon?.unref();
  }
}

/** A command that goes on for a while. */
export class RunningCommand {
  /** What it has said so far, on both outputs. */
  said = '';
  readonly #child: ChildProcess;
  readonly #end: Promise<number | null>;

  constructor(child: ChildProcess) {
    this.#child = child;
    for (const output of [child.stdout, child.stderr]) {
      output?.on('data', (chunk: Buffer) => (this.said += chunk.toString()));
    }
    this.#end = new Promise((resolve) => child.once('close', resolve));
  }

  /** Waits until it has said something like that. */
  async says(what: RegExp, timeoutMs = 15_000): Promise<void> {
    await pollUntil(
      { what: `${what} being said`, timeoutMs, everyMs: 20 },
      () => what.test(this.said) || undefined,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)} It said:\n${this.said}`);
    });
  }

  /** Sends it a signal that need not end it. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends it by a signal, if one is given, and waits until it is gone; gives its exit status. */
  async end(signal?: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    if (signal !== undefined) this.#child.kill(signal);
    return await withDeadline({ what: 'The end of a command', timeoutMs: 30_000 }, () => this.#end);
  }
}

/** One VM of a stage. */
export class StageVm {
  readonly name: string;
  /** All that the guest has said, over its restarts. */
  readonly console: GuestConsole;
  readonly #stage: Stage;
  readonly #socket: string;

  constructor(stage: Stage, name: string, console: VmDetails['console']) {
    this.#stage = stage;
    this.name = name;
    this.console = GuestConsole.follow(console.log);
    this.#socket = console.socket;
  }

  details(): Promise<VmDetails> {
    return this.#stage.ask<VmDetails>('vm', 'show', this.name);
  }

  /** Waits until the guest says that it is ready, after the console's line `since`. */
  async ready(since = 0): Promise<void> {
    await this.console.waitFor(/^USHER-GUEST ready /, { timeoutMs: 120_000, since });
  }

  /** Types a line on the guest's console; gives the position before it. */
  async type(text: string): Promise<number> {
    const since = this.console.position;
    await new Promise<void>((resolve, reject) => {
      const socket = connect(this.#socket, () => socket.end(`${text}\n`));
      socket.resume();
      socket.once('error', reject);
      socket.once('close', () => resolve());
      setTimeout(() => socket.destroy(), 300);
    });
    return since;
  }
}
