/**
 * A Xen host for tests of a domain's life: an `xl` that is a program like the real one, started for each command, and a
 * xenstore in memory. What xl does, this object does; what it prints has the form of Xen 4.17. For tests only.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { pollUntil } from '../../../lib/deadline.ts';
import type { VmUuid } from '../../../model/ids.ts';
import type { VmConfig } from '../../../model/vm.ts';
import { XenstoreClient } from '../../../wire/xenstore/client.ts';
import { MemoryDaemon } from '../../../wire/xenstore/testing/memory-daemon.ts';
import type { DriverHint } from '../../driver.ts';
import { XenDriver, type XenDriverOptions } from '../driver.ts';
import { parseCfg } from './cfg-parser.ts';
import { sampleConfig, sampleSave } from './sample-save.ts';

export interface FakeDomain {
  readonly domid: number;
  readonly uuid: string;
  name: string;
  /** How often it is paused. */
  pauses: number;
  reason?: number;
  cpuSeconds: number;
}

/** A shell script that the fake xl ends with: what it prints, its status. `undefined`: it hangs. */
type Ending = string | undefined;
type Command = (words: readonly string[]) => Ending | Promise<Ending>;

const HEADER =
  'Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label';

/** Starts a host; it is gone at the end of the test. */
export async function fakeXen(t: TestContext): Promise<FakeXen> {
  const xen = await FakeXen.start();
  t.after(() => xen.stop());
  return xen;
}

export class FakeXen {
  readonly folder: string;
  readonly daemon = new MemoryDaemon();
  readonly domains: FakeDomain[] = [];
  /** What xl was told, without `list`. */
  readonly words: string[][] = [];
  /** How often xl listed the domains. */
  lists = 0;
  /** How often it told what one is made of. */
  records = 0;
  /** The disks of every domain, as libxl prints them. */
  disks: readonly object[] = [];
  /** In the place of what a command does: given its words behind the command. */
  readonly commands = new Map<string, Command>();
  /** What is in the next save. */
  save: Buffer | undefined;
  readonly #server: Server;
  readonly #running = new Set<Socket>();
  #store: XenstoreClient | undefined;
  #lastDomid = 0;
  readonly #drivers: XenDriver[] = [];

  private constructor(folder: string) {
    this.folder = folder;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async start(): Promise<FakeXen> {
    const xen = new FakeXen(await mkdtemp(join(tmpdir(), 'usher-xl-')));
    await xen.daemon.listen(xen.xenstorePath);
    await new Promise<void>((resolve) => xen.#server.listen(0, '127.0.0.1', resolve));
    const { port } = xen.#server.address() as AddressInfo;
    const script = [
      '#!/bin/bash',
      `exec 9<>/dev/tcp/127.0.0.1/${port} || exit 99`,
      `printf '%s\\0' "$@" >&9`,
      `printf '\\1' >&9`,
      'script=$(cat <&9)',
      'exec 9>&-',
      'eval "$script"',
    ];
    await writeFile(xen.xlBinary, `${script.join('\n')}\n`, { mode: 0o755 });
    await mkdir(join(xen.folder, 'sys'));
    await mkdir(join(xen.folder, 'usbfs'));
    xen.#store = await XenstoreClient.connect({ path: xen.xenstorePath });
    return xen;
  }

  get xlBinary(): string {
    return join(this.folder, 'xl');
  }

  get xenstorePath(): string {
    return join(this.folder, 'xenstored');
  }

  get runtimeDir(): string {
    return join(this.folder, 'run');
  }

  /** How many xl commands go on. */
  get running(): number {
    return this.#running.size;
  }

  /** Opens a driver; it is closed with the host. */
  driver(options: Partial<XenDriverOptions> = {}): XenDriver & { readonly hints: DriverHint[] } {
    const { runtimeDir, xlBinary, xenstorePath, folder } = this;
    const driver = new XenDriver({
      ...{ runtimeDir, xlBinary, xenstorePath, stateDir: join(folder, 'state') },
      ...{ sysfsRoot: join(folder, 'sys'), usbfsRoot: join(folder, 'usbfs'), ...options },
    });
    const hints: DriverHint[] = [];
    driver.onHint((hint) => hints.push(hint));
    this.#drivers.push(driver);
    return Object.assign(driver, { hints });
  }

  config(number: number, changes: Partial<VmConfig> = {}): VmConfig {
    return {
      uuid: `6f1c2d3e-0000-4000-8000-${String(number).padStart(12, '0')}` as VmUuid,
      name: `vm${number}`,
      driver: 'xen',
      kernel: this.xlBinary,
      memoryMiB: 192,
      vcpus: 1,
      disks: [],
      startup: { do: 'started' },
      onCrash: 'preserve',
      onHalt: 'preserve',
      onReboot: 'preserve',
      usbControllers: [],
      ...changes,
    };
  }

  /** Makes a domain, as another toolstack does. */
  async create(uuid: string, name: string, isPaused = false): Promise<FakeDomain> {
    const domid = ++this.#lastDomid;
    const domain: FakeDomain = { domid, uuid, name, pauses: isPaused ? 1 : 0, cpuSeconds: isPaused ? 0 : 0.3 };
    this.domains.push(domain);
    this.daemon.makeDomain(domid);
    const store = this.#need();
    await store.write(`/local/domain/${domid}/vm`, `/vm/${uuid}`);
    await store.write(`/local/domain/${domid}/name`, name);
    await store.write(`/libxl/${domid}/type`, 'pv');
    await store.introduce(domid, 1n, 1);
    return domain;
  }

  /** Has the guest end itself, and stay. */
  async shutDown(uuid: string, reason: number): Promise<void> {
    const domain = this.domain(uuid);
    domain.reason = reason;
    this.daemon.endDomain(domain.domid, false);
  }

  /** Ends a domain, as another toolstack does. */
  async end(uuid: string): Promise<void> {
    const domain = this.domain(uuid);
    this.domains.splice(this.domains.indexOf(domain), 1);
    const store = this.#need();
    for (const path of [`/local/domain/${domain.domid}`, `/libxl/${domain.domid}`]) await store.rm(path);
    this.daemon.endDomain(domain.domid, true);
  }

  domain(uuid: string): FakeDomain {
    const domain = this.domains.find((other) => other.uuid === uuid);
    if (domain === undefined) throw new Error(`there is no domain ${uuid}`);
    return domain;
  }

  read(path: string): Promise<string | undefined> {
    return this.#need().read(path);
  }

  write(path: string, value: string): Promise<void> {
    return this.#need().write(path, value);
  }

  /** Waits until something is so. */
  until<T>(what: string, probe: () => Promise<T | undefined> | T | undefined): Promise<T> {
    return pollUntil({ what, timeoutMs: 10_000, everyMs: 5 }, probe);
  }

  async stop(): Promise<void> {
    for (const socket of this.#running) socket.destroy();
    await Promise.all(this.#drivers.map((driver) => driver.close()));
    this.#store?.close();
    await this.daemon.die();
    this.#server.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  #need(): XenstoreClient {
    if (this.#store === undefined) throw new Error('the host is not started');
    return this.#store;
  }

  #serve(socket: Socket): void {
    this.#running.add(socket);
    let asked = '';
    socket.on('error', () => undefined);
    socket.on('close', () => this.#running.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      asked += chunk.toString();
      if (!asked.endsWith('\x01')) return;
      const [command = '', ...words] = asked.slice(0, -1).split('\0').slice(0, -1);
      if (command === 'list' && words[0] !== '-l') this.lists++;
      else if (command === 'list') this.records++;
      else this.words.push([command, ...words]);
      void Promise.resolve()
        .then(() => (this.commands.get(command) ?? this.#usual(command))(words))
        .catch((error: unknown) => failing(`the fake is broken: ${String(error)}`))
        .then((ending) => {
          if (ending !== undefined) socket.end(ending);
        });
    });
  }

  #usual(command: string): Command {
    const usual: Readonly<Record<string, Command>> = {
      list: (words) => printing(words[0] === '-l' ? this.#record(words[1]) : this.listing()),
      create: (words) => this.#build(words),
      restore: (words) => this.#build(words),
      pause: (words) => this.#change(words, (domain) => void domain.pauses++),
      unpause: (words) =>
        this.#change(words, (domain) => {
          domain.pauses--;
          domain.cpuSeconds += 0.1;
        }),
      shutdown: (words) => this.#change(words, (domain) => this.shutDown(domain.uuid, 0)),
      destroy: (words) => this.#change(words, (domain) => this.end(domain.uuid)),
      save: (words) => this.#save(words),
    };
    return usual[command] ?? (() => failing(`xl knows no ${command}`));
  }

  /** What `xl list -v` prints now. */
  listing(): string {
    const rows = [
      { domid: 0, uuid: '00000000-0000-0000-0000-000000000000', name: 'Domain-0', pauses: 0, cpuSeconds: 100 },
      ...this.domains,
    ].map((domain: FakeDomain) => {
      const { domid, uuid, name, pauses, reason, cpuSeconds } = domain;
      const letters = reason === undefined ? '--' : `s${'-rscwS'[reason]}`;
      return [
        `${name.padEnd(40)} ${String(domid).padStart(5)}   192     1     --${pauses > 0 ? 'p' : '-'}${letters}-  `,
        `${cpuSeconds.toFixed(1).padStart(8)} ${uuid} ${(reason ?? '-').toString().padStart(8)}                -`,
      ].join('');
    });
    return [HEADER, ...rows, ''].join('\n');
  }

  /** What `xl list -l` prints of a domain. */
  #record(domid: string | undefined): string {
    const domain = this.domains.find((other) => String(other.domid) === domid);
    const config: unknown = domain && JSON.parse(this.#configOf(domain));
    return `${JSON.stringify([{ domid: domain?.domid, config }])}\n`;
  }

  #configOf({ uuid, name }: FakeDomain): string {
    return JSON.stringify({ ...(JSON.parse(sampleConfig(uuid, { name })) as object), disks: this.disks });
  }

  async #build(words: readonly string[]): Promise<string> {
    const cfgFile = words.find((word) => !word.startsWith('-')) ?? '';
    const { name, uuid } = parseCfg(await readFile(cfgFile, 'utf8'));
    if (this.domains.some((domain) => domain.name === name))
      return failing(`Domain with name "${String(name)}" already exists.`);
    await this.create(String(uuid), String(name), words.includes('-p'));
    return 'exit 0';
  }

  async #change(words: readonly string[], act: (domain: FakeDomain) => void | Promise<void>): Promise<string> {
    const domain = this.domains.find(({ domid }) => words.includes(String(domid)));
    if (domain === undefined) return failing('Domain is not there: No such process');
    await act(domain);
    return 'exit 0';
  }

  async #save(words: readonly string[]): Promise<string> {
    return this.#change(words, async (domain) => {
      const file = join(this.folder, 'next.save');
      await writeFile(file, this.save ?? sampleSave({ config: this.#configOf(domain) }));
      domain.pauses = 1;
    }).then((ending) => `cat ${join(this.folder, 'next.save')} > ${words.at(-1)} || exit 1; ${ending}`);
  }
}

/** Has xl print a text. */
export function printing(text: string): string {
  return `cat <<'END-OF-OUTPUT'\n${text}END-OF-OUTPUT\n`;
}

/** Has xl fail as libxl does. */
export function failing(why: string): string {
  return `cat >&2 <<'END-OF-OUTPUT'\nlibxl: error: libxl_fake.c:1:fake: Domain 1:${why}\nEND-OF-OUTPUT\nexit 1`;
}
