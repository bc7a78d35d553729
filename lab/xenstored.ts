/**
 * Debian's real xenstoreds on this machine, without Xen: fetches them, builds the library that stands in for the
 * hypervisor (xenstored/no-xen.c), and runs them. No root. For a xenstored on real Xen see xen-host.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { pollUntil } from '../src/lib/deadline.ts';
import { exec } from '../src/lib/exec.ts';
import { Fault } from '../src/lib/fault.ts';
import { connectUnix } from '../src/lib/unix-server.ts';
import { fromArchive } from './apt.ts';
import { cached } from './cache.ts';
import { StoreRing } from './xenstored/ring.ts';

/** The daemons with the libraries they name, and the client library with its header, for the benchmark's C client. */
const PACKAGES = [
  ...['xen-utils-4.17', 'libxenmisc4.17', 'libxenevtchn1', 'libxengnttab1', 'libxencall1', 'libxentoollog1'],
  ...['libxentoolcore1', 'libxenforeignmemory1', 'libxendevicemodel1', 'libxenstore4', 'libxen-dev'],
  ...['liblzma5', 'libzstd1', 'zlib1g'],
];
const PROGRAMS = 'usr/lib/xen-4.17/bin';
/** The daemon in C, and the one in OCaml. */
export const XENSTOREDS = ['xenstored', 'oxenstored'] as const;
export type XenstoredName = (typeof XENSTOREDS)[number];
const SHIM = fileURLToPath(new URL('xenstored/no-xen.c', import.meta.url));
const TIMEOUT_MS = 60_000;
const START_TIMEOUT_MS = 10_000;
/** The hypervisor's own event channel, and that of domain 0; the others follow. See no-xen.c. */
const HYPERVISOR_PORT = 1;
const FIRST_DOMAIN_PORT = 1000;
const PAGE_BYTES = 4096;

/** Lines of oxenstored.conf; the C daemon has no such file. */
export type XenstoredSettings = Readonly<Record<string, string>>;

export interface XenstoredBuild {
  /** The programs. */
  readonly daemons: Readonly<Record<XenstoredName, string>>;
  /** Where its libraries are. */
  readonly libraries: string;
  /** Where xenstore.h is. */
  readonly headers: string;
  readonly shim: string;
}

/** Gives the daemons, fetching and building what is not in the cache. @throws Fault `exec.failed`, `timeout`. */
export async function xenstoredBuild(): Promise<XenstoredBuild> {
  const files = [fileURLToPath(import.meta.url), SHIM];
  const folder = await cached('xenstored', { files, parameters: { packages: PACKAGES.join(' ') } }, async (target) => {
    const work = join(target, 'work');
    const unpacked = join(work, 'unpacked');
    await mkdir(unpacked, { recursive: true });
    for (const file of await fromArchive(join(work, 'apt'), (archive) => archive.download(PACKAGES)))
      await exec(['dpkg-deb', '--extract', file, unpacked], { timeoutMs: TIMEOUT_MS });
    const { stdout } = await exec(['gcc', '-print-multiarch'], { timeoutMs: TIMEOUT_MS });
    for (const name of XENSTOREDS) await rename(join(unpacked, PROGRAMS, name), join(target, name));
    const libraries = join(target, 'lib');
    await rename(join(unpacked, 'usr/lib', stdout.trim()), libraries);
    await cp(join(unpacked, 'lib', stdout.trim()), libraries, { recursive: true, verbatimSymlinks: true });
    await rename(join(unpacked, 'usr/include'), join(target, 'include'));
    const shim = ['gcc', '-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', join(target, 'no-xen.so'), SHIM] as const;
    await exec([...shim, '-ldl'], { timeoutMs: TIMEOUT_MS });
    await rm(work, { recursive: true });
  });
  return {
    daemons: { xenstored: join(folder, 'xenstored'), oxenstored: join(folder, 'oxenstored') },
    libraries: join(folder, 'lib'),
    headers: join(folder, 'include'),
    shim: join(folder, 'no-xen.so'),
  };
}

/** A running xenstored, with domains that exist as far as it can tell. */
export class RealXenstored {
  readonly name: XenstoredName;
  readonly #settings: XenstoredSettings;
  readonly #build: XenstoredBuild;
  readonly #folder: string;
  #process: ChildProcess | undefined;
  #said = '';

  private constructor(name: XenstoredName, settings: XenstoredSettings, build: XenstoredBuild, folder: string) {
    this.name = name;
    this.#settings = settings;
    this.#build = build;
    this.#folder = folder;
  }

  /** Starts one in a temporary folder, with an empty store. @throws Fault `timeout`, `exec.failed`. */
  static async start(name: XenstoredName = 'xenstored', settings: XenstoredSettings = {}): Promise<RealXenstored> {
    const folder = await mkdtemp(join(tmpdir(), 'xenstored-'));
    const xenstored = new RealXenstored(name, settings, await xenstoredBuild(), folder);
    await xenstored.#run();
    return xenstored;
  }

  /** The socket of dom0's clients. */
  get path(): string {
    return join(this.#folder, 'socket');
  }

  /** What it wrote, for a test that failed. */
  get said(): string {
    return this.#said;
  }

  /** Ends it without warning: what it knew is lost, its socket stays behind. */
  async kill(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const ended = once(running, 'close');
    running.kill('SIGKILL');
    await ended;
  }

  /** Starts it again after `kill`. */
  async restart(): Promise<void> {
    await this.kill();
    await this.#run();
  }

  /** Replaces the running C program by itself, with all that it knows, as an upgrade does. @throws as requests do */
  async liveUpdate(client: { control(words: readonly string[]): Promise<string> }): Promise<void> {
    for (const words of [['-f', this.#build.daemons.xenstored], ['-c', '--no-fork'], ['-s']]) {
      const answer = await client.control(['live-update', ...words]);
      if (!/^OK\0?$/.test(answer)) throw new Fault('exec.failed', { command: 'live-update', what: answer });
    }
  }

  /** Has it stand still, or go on. */
  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Makes a domain of a number from 1 to 63: it has a page for xenstored, and may be introduced. */
  makeDomain(domid: number): void {
    const page = join(this.#folder, `domain-${domid}`);
    writeFileSync(page, '');
    truncateSync(page, PAGE_BYTES);
  }

  /** Gives the stream by which an introduced domain talks to xenstored: what its kernel has. */
  connectDomain(domid: number): Duplex {
    return new StoreRing(
      openSync(join(this.#folder, `domain-${domid}`), constants.O_RDWR),
      openSync(join(this.#folder, `rung-${domid}`), constants.O_RDWR | constants.O_NONBLOCK),
      () => this.#ring(FIRST_DOMAIN_PORT + domid),
    );
  }

  /** Shuts a domain down, as the hypervisor tells it; `isGone`: it is destroyed. */
  endDomain(domid: number, { isGone = false }: { readonly isGone?: boolean } = {}): void {
    if (isGone) rmSync(join(this.#folder, `domain-${domid}`), { force: true });
    else writeFileSync(join(this.#folder, `ended-${domid}`), '');
    this.#ring(HYPERVISOR_PORT);
  }

  /** Ends it and removes its folder. */
  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #run(): Promise<void> {
    const { daemons, libraries, shim } = this.#build;
    const daemon = daemons[this.name];
    const running = spawn(daemon, ['--no-fork', ...(await this.#configure())], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...{ PATH: process.env['PATH'], LD_LIBRARY_PATH: libraries, LD_PRELOAD: shim, NO_XEN: this.#folder },
        ...{ XENSTORED_RUNDIR: this.#folder, XENSTORED_ROOTDIR: this.#folder },
      },
    });
    this.#process = running;
    for (const stream of [running.stdout, running.stderr])
      stream.on('data', (chunk: Buffer) => {
        this.#said = `${this.#said}${chunk}`.slice(-10_000);
      });
    const what = `The start of ${daemon}`;
    await pollUntil({ what, timeoutMs: START_TIMEOUT_MS, everyMs: 5 }, async () => {
      if (running.exitCode !== null || running.signalCode !== null)
        throw new Fault('exec.failed', { command: daemon, what: this.#said || 'it ended' });
      if (!existsSync(this.path)) return undefined;
      const socket = await connectUnix(this.path, { timeoutMs: 1000 }).catch(() => undefined);
      socket?.destroy();
      return socket && true;
    });
  }

  /** Gives further words for the daemon. The OCaml one is told by a file where things are. */
  async #configure(): Promise<string[]> {
    if (this.name === 'xenstored') return [];
    const file = join(this.#folder, 'oxenstored.conf');
    const places = { 'xenstored-log-file': 'log', 'access-log-file': 'access-log', 'pid-file': 'pid' };
    const settings = {
      ...Object.fromEntries(Object.entries(places).map(([key, name]) => [key, join(this.#folder, name)])),
      'xenstored-kva': '/proc/xen/xsd_kva',
      'xenstored-port': '/proc/xen/xsd_port',
      persistent: 'false',
      ...this.#settings,
    };
    const lines = Object.entries(settings).map(([key, value]) => `${key} = ${value}\n`);
    await writeFile(file, lines.join(''));
    return ['--config-file', file];
  }

  /** Rings an event channel. */
  #ring(port: number): void {
    const fifo = openSync(join(this.#folder, 'rings'), constants.O_WRONLY | constants.O_NONBLOCK);
    writeSync(fifo, Buffer.from(Uint32Array.of(port).buffer));
    closeSync(fifo);
  }
}
