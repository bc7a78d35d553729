/**
 * A guest of QEMU that plays a whole host: an xHCI controller into which devices are plugged by QMP, a channel for
 * scripts, a drive for what is carried in. Booted once and kept as a snapshot, from which each `Host.start` gives a
 * fresh one in seconds. What runs in it is its model: linux-host.ts or xen-host.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pollUntil } from '../src/lib/deadline.ts';
import { exec } from '../src/lib/exec.ts';
import { Fault, isFault } from '../src/lib/fault.ts';
import { connectQmp, type QmpSession } from '../src/wire/qmp/session.ts';
import { type Cargo, packCargo } from './cargo.ts';
import { HostControl, type RunOptions, type RunResult } from './host-control.ts';
import { shellWord } from './shell-word.ts';

/** What distinguishes one kind of host from another. All of it is part of the snapshot. */
export interface HostModel {
  /** For errors: "the Xen host". */
  readonly title: string;
  readonly cpu: string;
  readonly memoryMiB: number;
  /** Gives the paths of what it boots, by the names that `bootArgs` uses. `source` is the folder with its disk. */
  files(source: string): Promise<Readonly<Record<string, string>>>;
  /** QEMU's arguments that boot those files, with further words for the command line of the host's Linux. */
  bootArgs(words: readonly string[]): readonly string[];
  /** Further virtio-serial ports, by name: each a socket of that name in the host's folder. */
  readonly ports: readonly string[];
  /** The same for terminals: the first is /dev/hvc0, or the next that is free. */
  readonly terminals: readonly string[];
  /** A script that succeeds once the host is up, and has in memory what tests run first. */
  readonly warmUp: string;
}

export interface Launch {
  /** The folder with `disk`, with what the model boots and, for a host that is restored, with `state`. */
  readonly source: string;
  /** Continues from `state`; otherwise the host boots. */
  readonly isRestored: boolean;
  /** Writes to the source's disk, to build it. Otherwise to an overlay, which ends with the host. */
  readonly writesSource?: boolean;
  readonly cargo?: Cargo;
  /** Further words for the kernel; only of a host that boots. */
  readonly words?: readonly string[];
}

const QEMU = 'qemu-system-x86_64';
const BOOT_TIMEOUT_MS = 3 * 60_000;
const RESTORE_TIMEOUT_MS = 60_000;
const SAVE_TIMEOUT_MS = 2 * 60_000;
const SHORT_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const MIB = 1024 * 1024;

type DiskFormat = 'raw' | 'qcow2';

interface Connection {
  readonly process: ChildProcess;
  readonly qmp: QmpSession;
  readonly control: HostControl;
}

/** A running host. Its USB sockets are the ports 1 to 8 of `xhci.0`. */
export class Host {
  /** A private folder of this host on this machine; `stop` removes it. */
  readonly folder: string;
  readonly #model: HostModel;
  readonly #disk: Pick<Start, 'disk' | 'format'>;
  readonly #words: readonly string[];
  #connection: Connection;

  private constructor(folder: string, model: HostModel, { disk, format, words }: Start, connection: Connection) {
    this.folder = folder;
    this.#model = model;
    this.#disk = { disk, format };
    this.#words = words;
    this.#connection = connection;
  }

  /**
   * Gives a host that is up: from a snapshot in seconds, otherwise by booting. What is carried in lies in its /cargo.
   * @throws Fault `timeout`, `exec.failed`, `config.invalid`.
   */
  static async start(model: HostModel, launch: Launch): Promise<Host> {
    const { source, isRestored, writesSource = false, cargo = {}, words = [] } = launch;
    const folder = await mkdtemp(join(tmpdir(), 'usher-host-'));
    try {
      await packCargo(cargo, folder);
      for (const [name, path] of Object.entries(await model.files(source))) await symlink(path, join(folder, name));
      const disk = join(writesSource ? source : folder, 'disk');
      if (!writesSource) await makeOverlay(source, disk);
      const format: DiskFormat = writesSource ? await diskFormatOf(source) : 'qcow2';
      const start = { disk, format, words, state: isRestored ? join(source, 'state') : undefined };
      const host = new Host(folder, model, start, await connect(folder, model, argvOf(model, start)));
      try {
        await host.#goOn(isRestored);
        if (Object.keys(cargo).length > 0) await host.check('/lab/unload', { timeoutMs: SHORT_TIMEOUT_MS });
        return host;
      } catch (error) {
        await host.stop();
        throw error;
      }
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** QEMU's side: for `device_add` and the like. Another one after `reboot`. */
  get qmp(): QmpSession {
    return this.#connection.qmp;
  }

  /** Runs a bash script in the host as root; see `HostControl.run`. */
  run(script: string, options?: RunOptions): Promise<RunResult> {
    return this.#connection.control.run(script, options);
  }

  /** Runs a script that has to succeed and gives its output. @throws Fault `exec.failed` with the end of the output. */
  async check(script: string, options?: RunOptions): Promise<string> {
    const { status, output } = await this.run(script, options);
    if (status === 0) return output;
    const command = `${script.slice(0, 200)} (in ${this.#model.title})`;
    throw new Fault('exec.failed', { command, what: `status ${status}, it said: ${output.slice(-1000)}` });
  }

  /** Stops its processors: nothing in it moves until `thaw`. */
  async freeze(): Promise<void> {
    await this.qmp.execute('stop');
  }

  /** Lets it go on after `freeze`. */
  async thaw(): Promise<void> {
    await this.qmp.execute('cont');
  }

  /** Freezes the host and writes its state, without its disk, to the file `state`. */
  async save(state: string): Promise<void> {
    await this.freeze();
    await this.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 100 * 1024 * MIB });
    await this.qmp.execute('migrate', { uri: `exec:cat > ${shellWord(state)}` });
    const what = `The snapshot of ${this.#model.title}`;
    await pollUntil({ what, timeoutMs: SAVE_TIMEOUT_MS, everyMs: POLL_MS }, async () => {
      const { status, 'error-desc': why = 'QEMU does not say why' } = await this.qmp.execute('query-migrate');
      if (status === 'failed') throw new Fault('vm.save_failed', { vm: this.#model.title, file: state, what: why });
      return status === 'completed' ? true : undefined;
    });
  }

  /**
   * Ends the host and boots it anew from its disk, on which everything is that was written before; a power cut loses
   * what the host had not flushed. Nothing is plugged in then: `whenPowered` may do that before its system is up.
   * @throws as `start` does.
   */
  async reboot({ isPowerCut = false, whenPowered }: RebootOptions = {}): Promise<void> {
    if (!isPowerCut) await this.check('sync', { timeoutMs: SHORT_TIMEOUT_MS });
    await this.#disconnect();
    const start = { ...this.#disk, words: this.#words };
    this.#connection = await connect(this.folder, this.#model, argvOf(this.#model, start));
    await whenPowered?.();
    await this.#goOn(false);
  }

  /** Ends the host as if its power was cut, and removes its folder. */
  async stop(): Promise<void> {
    await this.#disconnect();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #goOn(isRestored: boolean): Promise<void> {
    if (isRestored) {
      await resume(this.qmp, this.#model.title);
      await this.check(`date -s @${Date.now() / 1000} > /dev/null`); // Its clock still stands where it was saved.
    } else await this.check(this.#model.warmUp, { timeoutMs: BOOT_TIMEOUT_MS });
  }

  async #disconnect(): Promise<void> {
    const { process, qmp, control } = this.#connection;
    control.close();
    qmp.close();
    await end(process);
  }
}

export interface RebootOptions {
  readonly isPowerCut?: boolean;
  readonly whenPowered?: () => Promise<void>;
}

/** Starts QEMU in the host's folder and opens both connections. */
async function connect(folder: string, model: HostModel, argv: readonly string[]): Promise<Connection> {
  const log = await open(join(folder, 'qemu.log'), 'w', 0o600);
  // A test that dies leaves no host behind, not even one that is killed.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', QEMU, ...argv], {
    cwd: folder,
    stdio: ['ignore', log.fd, log.fd],
  });
  await log.close();
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.removeListener('exit', kill));
  child.on('error', () => undefined); // Nobody answers then, which tells.
  const until = <T>(what: string, attempt: () => Promise<T>) =>
    pollUntil({ what: `${what} of ${model.title}`, timeoutMs: RESTORE_TIMEOUT_MS, everyMs: POLL_MS }, async () => {
      if (child.exitCode !== null) throw await deathOf(folder);
      return attempt().catch((error: unknown) => {
        if (isFault(error, 'wire.closed')) return undefined;
        throw error;
      });
    });
  try {
    const qmp = await until('The QMP socket', () => connectQmp(join(folder, 'qmp')));
    const control = await until('The control port', () => HostControl.connect(join(folder, 'control')));
    return { process: child, qmp, control };
  } catch (error) {
    await end(child);
    throw error;
  }
}

interface Start {
  readonly disk: string;
  readonly format: DiskFormat;
  readonly state?: string | undefined;
  readonly words: readonly string[];
}

/** The devices and their order are part of the snapshot. Paths are those of the host's folder. */
function argvOf(model: HostModel, { disk, format, state, words }: Start): string[] {
  const socket = (name: string) => `socket,id=${name},path=${name},server=on,wait=off`;
  return [
    ...['-accel', 'tcg,thread=multi', '-M', 'q35', '-cpu', model.cpu, '-smp', '2', '-m', String(model.memoryMiB)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', ...model.bootArgs(words)],
    ...['-chardev', 'file,id=console,path=console,append=on', '-serial', 'chardev:console'],
    ...['-chardev', socket('qmp'), '-mon', 'chardev=qmp,mode=control'],
    ...['-drive', `if=none,id=disk,file=${disk.replaceAll(',', ',,')},format=${format},cache=unsafe`],
    ...['-device', 'virtio-blk-pci,drive=disk'],
    ...['-drive', 'if=none,id=cargo,file=cargo,format=raw,cache=unsafe,readonly=on'],
    ...['-device', 'virtio-blk-pci,drive=cargo'],
    ...['-device', 'virtio-serial-pci,max_ports=8'],
    ...['control', ...model.ports].flatMap((name) => [
      ...['-chardev', socket(name), '-device', `virtserialport,chardev=${name},name=${name}`],
    ]),
    ...model.terminals.flatMap((name) => ['-chardev', socket(name), '-device', `virtconsole,chardev=${name}`]),
    ...['-device', 'qemu-xhci,id=xhci,p2=8,p3=8'],
    ...['-device', 'virtio-rng-pci'], // Without it randomness takes a minute to be there, and Node waits.
    ...(state === undefined ? [] : ['-incoming', `exec:cat ${shellWord(state)}`]),
  ];
}

/** Lets a restored host run: a `cont` that comes before the state is complete would be lost. */
async function resume(qmp: QmpSession, title: string): Promise<void> {
  const what = `The restore of ${title}`;
  await pollUntil({ what, timeoutMs: RESTORE_TIMEOUT_MS, everyMs: POLL_MS }, async () => {
    const { status } = await qmp.execute('query-status');
    return status === 'paused' ? true : undefined;
  });
  await qmp.execute('cont');
}

/** Makes the qcow2 overlay `disk` over the source's disk. */
async function makeOverlay(source: string, disk: string): Promise<void> {
  const overlay = ['-f', 'qcow2', '-b', join(source, 'disk'), '-F', await diskFormatOf(source), disk] as const;
  await exec(['qemu-img', 'create', '-q', ...overlay], { timeoutMs: SHORT_TIMEOUT_MS });
}

/** Tells how the disk of a snapshot is laid out: it is raw, or itself an overlay. */
async function diskFormatOf(source: string): Promise<DiskFormat> {
  const disk = await open(join(source, 'disk'));
  try {
    const { buffer } = await disk.read({ buffer: Buffer.alloc(4), position: 0 });
    return buffer.toString('latin1') === 'QFI\xfb' ? 'qcow2' : 'raw';
  } finally {
    await disk.close();
  }
}

async function deathOf(folder: string): Promise<Fault> {
  const said = await readFile(join(folder, 'qemu.log'), 'utf8').catch(() => '');
  return new Fault('exec.failed', { command: QEMU, what: `it ended at once and said: ${said.trim()}` });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
