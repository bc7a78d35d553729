/**
 * A Linux guest that plays a whole host: an xHCI controller into which devices are plugged by QMP, udev, QEMU, Node. It
 * is booted once and kept as a snapshot; each `Host.restore` gives a fresh one in seconds. What it carries is the test's.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readFile, rm, symlink, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pollUntil } from '../src/lib/deadline.ts';
import { exec } from '../src/lib/exec.ts';
import { Fault, isFault } from '../src/lib/fault.ts';
import { connectQmp, type QmpSession } from '../src/wire/qmp/session.ts';
import { cached } from './cache.ts';
import { HostControl, type RunOptions, type RunResult } from './host-control.ts';
import { buildHostImage, hostImageRecipe } from './host-image.ts';
import { kernel } from './kernel.ts';

/** Room for the tar of what is carried in, in MiB; the size of that drive is part of the snapshot. */
export const CARGO_MIB = 256;

const MEMORY_MIB = 1536;
const CMDLINE = 'console=ttyS0 quiet mitigations=off tsc=reliable no_timer_check panic=-1';
const OWN_SOURCES = ['host.ts', 'host-control.ts'].map((name) => fileURLToPath(new URL(name, import.meta.url)));
const BOOT_TIMEOUT_MS = 3 * 60_000;
const RESTORE_TIMEOUT_MS = 60_000;
const SAVE_TIMEOUT_MS = 2 * 60_000;
const PACK_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const MIB = 1024 * 1024;
/** Has in memory what every test runs first. Emulated, the first start of a program costs twice the second. */
const WARM_UP = 'node -e 0 && qemu-system-x86_64 --version && qemu-system-x86_64 -M none -device usb-host,help';

interface Launch {
  readonly folder: string;
  readonly initrd: string;
  readonly disk: string;
  readonly diskFormat: 'raw' | 'qcow2';
  /** The state to continue from; without it the host boots. */
  readonly state?: string;
}

/** Gives the folder of the snapshot (`disk`, `initrd`, `state`), building it first when it is not in the cache. */
export async function hostSnapshot(): Promise<string> {
  const recipe = await hostImageRecipe();
  return cached('host', { ...recipe, files: [...recipe.files, ...OWN_SOURCES] }, async (folder) => {
    await buildHostImage(join(folder, 'disk'), join(folder, 'initrd'), join(folder, 'work'));
    const host = await Host.boot(folder);
    try {
      await host.save(join(folder, 'state'));
    } finally {
      await host.stop();
    }
  });
}

/** A running host. Its USB sockets are the ports 1 to 8 of `xhci.0`. */
export class Host {
  /** QEMU's side: for `device_add` and the like. */
  readonly qmp: QmpSession;
  /** A private folder of this host on this machine; `stop` removes it. */
  readonly folder: string;
  readonly #process: ChildProcess;
  readonly #control: HostControl;

  private constructor(folder: string, process: ChildProcess, qmp: QmpSession, control: HostControl) {
    this.folder = folder;
    this.#process = process;
    this.qmp = qmp;
    this.#control = control;
  }

  /** Boots from `disk` and `initrd` in `source`, writing to that disk, and waits until everything is up and warm. */
  static async boot(source: string): Promise<Host> {
    const folder = await mkdtemp(join(tmpdir(), 'usher-host-'));
    const host = await start({ folder, initrd: join(source, 'initrd'), disk: join(source, 'disk'), diskFormat: 'raw' });
    await host.check(WARM_UP, { timeoutMs: BOOT_TIMEOUT_MS });
    return host;
  }

  /**
   * Gives a fresh host from the snapshot. `cargo` is carried in: names in the host's folder /cargo, each with the file
   * or folder on this machine that it is a copy of. @throws Fault `timeout`, `exec.failed`, `config.invalid`.
   */
  static async restore(cargo: Readonly<Record<string, string>> = {}): Promise<Host> {
    const snapshot = await hostSnapshot();
    const folder = await mkdtemp(join(tmpdir(), 'usher-host-'));
    const disk = join(folder, 'disk');
    const overlay = ['-f', 'qcow2', '-b', join(snapshot, 'disk'), '-F', 'raw', disk] as const;
    await exec(['qemu-img', 'create', '-q', ...overlay], { timeoutMs: PACK_TIMEOUT_MS });
    await pack(cargo, folder);
    const state = join(snapshot, 'state');
    const host = await start({ folder, initrd: join(snapshot, 'initrd'), disk, diskFormat: 'qcow2', state });
    // Its clock still stands where it was saved.
    const unload = Object.keys(cargo).length > 0 ? '/lab/unload' : 'true';
    await host.check(`date -s @${Date.now() / 1000} > /dev/null && ${unload}`);
    return host;
  }

  /** Runs a bash script in the host as root; see `HostControl.run`. */
  run(script: string, options?: RunOptions): Promise<RunResult> {
    return this.#control.run(script, options);
  }

  /** Runs a script that has to succeed and gives its output. @throws Fault `exec.failed` with the end of the output. */
  async check(script: string, options?: RunOptions): Promise<string> {
    const { status, output } = await this.run(script, options);
    if (status === 0) return output;
    const command = `${script.slice(0, 200)} (in the host guest)`;
    throw new Fault('exec.failed', { command, what: `status ${status}, it said: ${output.slice(-1000)}` });
  }

  /** Stops the host's processors and writes its state, without its disk, to the file `state`. */
  async save(state: string): Promise<void> {
    await this.qmp.execute('stop');
    await this.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 100 * 1024 * MIB });
    await this.qmp.execute('migrate', { uri: `exec:cat > ${shellWord(state)}` });
    const what = 'The snapshot of the host guest';
    await pollUntil({ what, timeoutMs: SAVE_TIMEOUT_MS, everyMs: POLL_MS }, async () => {
      const { status, 'error-desc': why = 'QEMU does not say why' } = await this.qmp.execute('query-migrate');
      if (status === 'failed') throw new Fault('vm.save_failed', { vm: 'the host guest', file: state, what: why });
      return status === 'completed' ? true : undefined;
    });
  }

  /** Ends the host as if its power was cut, and removes its folder. */
  async stop(): Promise<void> {
    this.#control.close();
    this.qmp.close();
    await end(this.#process);
    await rm(this.folder, { recursive: true, force: true });
  }

  /** For `start` below: a host is a process with both its connections. */
  static async connect(folder: string, process: ChildProcess): Promise<Host> {
    const open = <T>(what: string, connect: () => Promise<T>) =>
      pollUntil({ what, timeoutMs: RESTORE_TIMEOUT_MS, everyMs: POLL_MS }, async () => {
        if (process.exitCode !== null) throw await deathOf(folder);
        return connect().catch((error: unknown) => {
          if (isFault(error, 'wire.closed')) return undefined;
          throw error;
        });
      });
    const qmp = await open('The QMP socket of the host guest', () => connectQmp(join(folder, 'qmp')));
    const control = await open('The control port of the host guest', () =>
      HostControl.connect(join(folder, 'control')),
    );
    return new Host(folder, process, qmp, control);
  }
}

async function start(launch: Launch): Promise<Host> {
  const { folder, state } = launch;
  const log = await open(join(folder, 'qemu.log'), 'w', 0o600);
  const child = spawn('qemu-system-x86_64', await argvOf(launch), { stdio: ['ignore', log.fd, log.fd] });
  await log.close();
  // A test that dies leaves no host behind.
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.removeListener('exit', kill));
  child.on('error', () => undefined); // `connect` finds nobody and tells.
  try {
    const host = await Host.connect(folder, child);
    if (state !== undefined) await goOn(host);
    return host;
  } catch (error) {
    await end(child);
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** The devices and their order are part of the snapshot. */
async function argvOf({ folder, initrd, disk, diskFormat, state }: Launch): Promise<string[]> {
  const socket = (name: string) => `socket,id=${name},path=${join(folder, name)},server=on,wait=off`;
  const cargo = join(folder, 'cargo');
  await open(cargo, 'a', 0o600).then((file) => file.close());
  await truncate(cargo, CARGO_MIB * MIB);
  const { vmlinux } = await kernel();
  return [
    ...['-accel', 'tcg,thread=multi', '-M', 'q35', '-cpu', 'qemu64', '-smp', '2', '-m', String(MEMORY_MIB)],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', vmlinux, '-initrd', initrd, '-append', CMDLINE],
    ...['-chardev', `file,id=console,path=${join(folder, 'console')}`, '-serial', 'chardev:console'],
    ...['-chardev', socket('qmp'), '-mon', 'chardev=qmp,mode=control'],
    ...['-drive', `if=none,id=disk,file=${disk},format=${diskFormat},cache=unsafe`],
    ...['-device', 'virtio-blk-pci,drive=disk'],
    ...['-drive', `if=none,id=cargo,file=${cargo},format=raw,cache=unsafe,readonly=on`],
    ...['-device', 'virtio-blk-pci,drive=cargo'],
    ...['-device', 'virtio-serial-pci,max_ports=2'],
    ...['-chardev', socket('control'), '-device', 'virtserialport,chardev=control,name=control'],
    ...['-device', 'qemu-xhci,id=xhci,p2=8,p3=8'],
    ...(state === undefined ? [] : ['-incoming', `exec:cat ${shellWord(state)}`]),
  ];
}

/** Lets a restored host run: a `cont` that comes before the state is complete would be lost. */
async function goOn(host: Host): Promise<void> {
  const what = 'The restore of the host guest';
  await pollUntil({ what, timeoutMs: RESTORE_TIMEOUT_MS, everyMs: POLL_MS }, async () => {
    const { status } = await host.qmp.execute('query-status');
    return status === 'paused' ? true : undefined;
  });
  await host.qmp.execute('cont');
}

/** Writes the tar of what is carried in to `folder`/cargo. */
async function pack(cargo: Readonly<Record<string, string>>, folder: string): Promise<void> {
  const entries = Object.entries(cargo);
  if (entries.length === 0) return;
  const staging = join(folder, 'staging');
  await mkdir(staging);
  for (const [name, path] of entries) await symlink(resolve(path), join(staging, name));
  const tar = join(folder, 'cargo');
  await exec(['tar', '--create', '--dereference', '-f', tar, '-C', staging, '.'], { timeoutMs: PACK_TIMEOUT_MS });
  const { size } = await open(tar).then((file) => file.stat().finally(() => file.close()));
  if (size > CARGO_MIB * MIB) throw new Fault('config.invalid', { what: `The cargo has ${size} bytes, too many.` });
}

/** Quotes a word for the shell that QEMU's `exec:` uses. */
function shellWord(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

async function deathOf(folder: string): Promise<Fault> {
  const said = await readFile(join(folder, 'qemu.log'), 'utf8').catch(() => '');
  return new Fault('exec.failed', { command: 'qemu-system-x86_64', what: `it ended at once and said: ${said.trim()}` });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
